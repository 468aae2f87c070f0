"""From a detection to the embedder's input: FaceMesh crop, five points, 112 x 112 crop."""

from __future__ import annotations

import cv2
import numpy as np

from edge_app.core.geometry import (
    Transform,
    apply,
    invert,
    similarity_transform,
    square_crop_transform,
    warp_crop,
)
from edge_app.records import Detection, FaceMesh, Float32Array, ImageBgr, Pose

MESH_INPUT_PX = 192
FACE_PX = 112

_MESH_MARGIN = 1.5
"""Crop side over detection side, as FaceMesh was trained (MediaPipe face landmark model card)."""

REFERENCE_POINTS = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)
"""Where the eye centres, nose tip and mouth corners lie in a 112 x 112 crop: the template of
Deng et al., "ArcFace", CVPR 2019, that MobileFaceNet's training crops follow."""

_ROUGH_POINTS = np.concatenate(
    [REFERENCE_POINTS[:3], REFERENCE_POINTS[3:].mean(axis=0, keepdims=True)]
)
"""Where the detector's first four keypoints lie there: eyes, nose tip, middle of the mouth."""

# FaceMesh's numbering (MediaPipe canonical face model); right and left are the subject's.
_RIGHT_EYE_CORNERS = (33, 133)
_LEFT_EYE_CORNERS = (362, 263)
_NOSE_TIP = 1
_RIGHT_MOUTH_CORNER, _LEFT_MOUTH_CORNER = 61, 291
_RIGHT_CHEEK, _LEFT_CHEEK, _FOREHEAD, _CHIN = 234, 454, 10, 152


def mesh_crop(image: ImageBgr, detection: Detection) -> tuple[Float32Array, Transform]:
    """FaceMesh's input for a detection, upright by the eye line.

    Returns (tensor, transform): tensor float32 (1, 192, 192, 3), RGB in 0 to 1; transform
    maps frame pixels to crop pixels.
    """
    right_eye, left_eye = detection.landmarks.points_px[:2]
    dx, dy = left_eye - right_eye
    side_px = _MESH_MARGIN * max(detection.box_px.width, detection.box_px.height, 1.0)
    transform = square_crop_transform(
        detection.box_px.centre, side_px, float(np.arctan2(dy, dx)), MESH_INPUT_PX
    )
    crop = warp_crop(image, transform, MESH_INPUT_PX)
    tensor = np.empty((1, MESH_INPUT_PX, MESH_INPUT_PX, 3), dtype=np.float32)
    np.multiply(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), np.float32(1 / 255), out=tensor[0])
    return tensor, transform


def decode_mesh(points: Float32Array, presence: Float32Array, transform: Transform) -> FaceMesh:
    """FaceMesh's outputs in frame pixels.

    points: 1404 numbers, (x, y, z) per point in crop pixels; presence: one logit.
    """
    crop_points = points.reshape(468, 3)
    back = invert(transform)
    frame_points = np.empty((468, 3), dtype=np.float32)
    frame_points[:, :2] = apply(back, crop_points[:, :2])
    frame_points[:, 2] = crop_points[:, 2] * np.hypot(back[0, 0], back[1, 0])
    logit = float(np.clip(presence.reshape(-1)[0], -80, 80))
    return FaceMesh(frame_points, 1 / (1 + float(np.exp(-logit))))


def five_points(mesh: FaceMesh) -> Float32Array:
    """Eye centres (subject's right, left), nose tip, mouth corners: shape (5, 2), frame pixels."""
    points = mesh.points_px[:, :2]
    return np.stack(
        [
            points[list(_RIGHT_EYE_CORNERS)].mean(axis=0),
            points[list(_LEFT_EYE_CORNERS)].mean(axis=0),
            points[_NOSE_TIP],
            points[_RIGHT_MOUTH_CORNER],
            points[_LEFT_MOUTH_CORNER],
        ]
    ).astype(np.float32)


def interocular_px(mesh: FaceMesh) -> float:
    """Distance of the eye centres in the frame."""
    right_eye, left_eye = five_points(mesh)[:2]
    return float(np.hypot(*(left_eye - right_eye)))


def aligned_face(image: ImageBgr, mesh: FaceMesh) -> ImageBgr:
    """The face as the embedder wants it: uint8 (112, 112, 3), BGR."""
    transform = similarity_transform(five_points(mesh), REFERENCE_POINTS)
    return warp_crop(image, transform, FACE_PX)


def roughly_aligned_face(image: ImageBgr, detection: Detection) -> ImageBgr:
    """The same by the detector's own eyes, nose and mouth: good enough to see whether a face
    changed, not whose it is."""
    points = detection.landmarks.points_px[: len(_ROUGH_POINTS)]
    return warp_crop(image, similarity_transform(points, _ROUGH_POINTS), FACE_PX)


def embedder_input(face: ImageBgr) -> Float32Array:
    """float32 (1, 112, 112, 3), RGB, (x - 127.5) / 128."""
    tensor = np.empty((1, FACE_PX, FACE_PX, 3), dtype=np.float32)
    np.subtract(cv2.cvtColor(face, cv2.COLOR_BGR2RGB), np.float32(127.5), out=tensor[0])
    tensor *= np.float32(1 / 128)
    return tensor


def head_pose(mesh: FaceMesh) -> Pose:
    """Rotation of the plane through cheeks, forehead and chin, from the mesh's own depth.

    The mesh's z grows away from the camera, in the scale of x.
    """
    points = mesh.points_px.astype(np.float64)
    across = points[_LEFT_CHEEK] - points[_RIGHT_CHEEK]
    down = points[_CHIN] - points[_FOREHEAD]
    normal = np.cross(down, across)  # towards the camera for a frontal face: z < 0
    length = np.linalg.norm(normal)
    if length == 0:
        return Pose(0.0, 0.0, 0.0)
    nx, ny, nz = normal / length
    yaw = np.degrees(np.arctan2(nx, -nz))
    pitch = np.degrees(np.arctan2(-ny, np.hypot(nx, nz)))
    roll = np.degrees(np.arctan2(across[1], across[0]))
    return Pose(float(yaw), float(pitch), float(roll))


def parallax_pose(mesh: FaceMesh) -> Pose:
    """Yaw and pitch from how far the nose tip stands off the plane of eyes and mouth.

    A flat picture that is turned before a distant camera keeps these proportions, so it shows
    no rotation here. The factors are least squares against `head_pose` on 499 LFW images
    (correlation 0.99 for yaw, 0.93 for pitch, within +-30 degrees).
    """
    right_eye, left_eye, nose, right_mouth, left_mouth = five_points(mesh).astype(np.float64)
    eyes, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    eye_line = left_eye - right_eye
    distance = float(np.hypot(*eye_line))
    if distance == 0:
        return Pose(0.0, 0.0, 0.0)
    along = eye_line / distance
    down = np.array([-along[1], along[0]])
    height = float((mouth - eyes) @ down)
    if height <= 0:
        return Pose(0.0, 0.0, 0.0)
    yaw_deg = 81.5 * float((nose - (eyes + mouth) / 2) @ along) / distance
    pitch_deg = 44.5 - 84.2 * float((nose - eyes) @ down) / height
    return Pose(yaw_deg, pitch_deg, float(np.degrees(np.arctan2(along[1], along[0]))))
