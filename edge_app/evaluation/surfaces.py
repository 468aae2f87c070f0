"""Pictures on bent surfaces before a pinhole camera: the little renderer of the attack clips.

Lengths are metres in the camera's frame: x to the right, y down, z away from the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.evaluation.measures import Float64Array
from edge_app.records import Float32Array, ImageBgr

_SUBPIXEL_BITS: Final = 4
_NEAREST_M: Final = 0.02


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera; its axis goes through the middle of the picture."""

    width_px: int
    height_px: int
    focal_px: float

    def project(self, points_m: Float64Array) -> Float64Array:
        """Pixels, shape (n, 2), of points, shape (n, 3)."""
        depth_m = np.maximum(points_m[:, 2:], _NEAREST_M)
        middle = np.array([self.width_px / 2, self.height_px / 2])
        return np.asarray(middle + self.focal_px * points_m[:, :2] / depth_m)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a surface is and how it is turned about its origin.

    Yaw > 0: its front turns to the viewer's right. Pitch > 0: it turns up. Roll > 0: it leans
    clockwise for the viewer. Turned in the order roll, pitch, yaw.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    position_m: tuple[float, float, float]

    def apply(self, points_m: Float64Array) -> Float64Array:
        """The points, shape (n, 3), in the camera's frame."""
        yaw, pitch, roll = np.radians((self.yaw_deg, self.pitch_deg, self.roll_deg))
        (sy, sp, sr), (cy, cp, cr) = np.sin((yaw, pitch, roll)), np.cos((yaw, pitch, roll))
        about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        turned = points_m @ (about_y @ about_x @ about_z).T
        return np.asarray(turned + np.array(self.position_m))


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A textured mesh around its own origin.

    texture:    uint8 (height, width, 3), BGR.
    alpha:      float32 (height, width), 0 to 1: how much of it covers what is behind.
    points_m:   shape (n, 3).
    texture_px: shape (n, 2): where in the texture each point lies.
    triangles:  shape (m, 3): indices of points.
    """

    texture: ImageBgr = field(repr=False)
    alpha: Float32Array = field(repr=False)
    points_m: Float64Array = field(repr=False)
    texture_px: Float64Array = field(repr=False)
    triangles: NDArray[np.int64] = field(repr=False)


def draw(canvas: ImageBgr, surface: Surface, placement: Placement, camera: Camera) -> None:
    """Draws the surface over the canvas, its far triangles first."""
    points_m = placement.apply(surface.points_m)
    points_px = camera.project(points_m)
    x0, y0 = np.maximum(np.floor(points_px.min(axis=0)).astype(int), 0)
    x1, y1 = np.ceil(points_px.max(axis=0)).astype(int) + 1
    x1, y1 = min(int(x1), camera.width_px), min(int(y1), camera.height_px)
    if x1 - x0 < 1 or y1 - y0 < 1:
        return
    local = points_px - (x0, y0)
    far_first = np.argsort(-points_m[surface.triangles, 2].mean(axis=1))
    triangles = surface.triangles[far_first]
    owner = np.full((y1 - y0, x1 - x0), -1, np.int32)
    corners = np.round(local[triangles] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for number, corner in enumerate(corners):
        cv2.fillConvexPoly(owner, corner, (number,), shift=_SUBPIXEL_BITS)
    rows, columns = np.nonzero(owner >= 0)
    if not rows.size:
        return
    maps = _to_texture(local[triangles], surface.texture_px[triangles])[owner[rows, columns]]
    here = np.stack([columns, rows, np.ones_like(rows)], axis=1).astype(np.float64)
    source = np.full((2, *owner.shape), -1e4, np.float32)
    source[:, rows, columns] = np.einsum("nij,nj->in", maps, here)
    colour = cv2.remap(
        surface.texture, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    cover = cv2.remap(surface.alpha, source[0], source[1], cv2.INTER_LINEAR)[..., None]
    part = canvas[y0:y1, x0:x1]
    part[:] = np.round(part * (1 - cover) + colour * cover)


def _to_texture(screen: Float64Array, texture: Float64Array) -> Float64Array:
    """Affine maps, shape (m, 2, 3), from the screen's triangles, shape (m, 3, 2), to the
    texture's. Those seen edge-on cover no pixel; theirs are zero."""
    ones = np.ones((*screen.shape[:2], 1))
    matrices = np.concatenate([screen, ones], axis=2)
    flat = np.abs(np.linalg.det(matrices)) < 1e-9
    matrices[flat] = np.eye(3)
    maps = np.linalg.solve(matrices, texture).transpose(0, 2, 1)
    maps[flat] = 0
    return np.asarray(maps)


def sheet(texture: ImageBgr, width_m: float, bend_m: float, axis_deg: float) -> Surface:
    """A picture on paper or on a screen, `width_m` wide, its middle at the origin.

    bend_m:   radius of the cylinder that it is bent to, its middle towards the camera
              (negative: away from it); infinite for a flat sheet.
    axis_deg: the way the cylinder's axis lies: 0 upright, 90 level.
    """
    height_px, width_px = texture.shape[:2]
    cells = 16 if np.isfinite(bend_m) else 8
    u, v = np.meshgrid(np.linspace(0, width_px, cells + 1), np.linspace(0, height_px, cells + 1))
    flat = np.stack([u - width_px / 2, v - height_px / 2], axis=-1).reshape(-1, 2)
    flat *= width_m / width_px
    cos, sin = np.cos(np.radians(axis_deg)), np.sin(np.radians(axis_deg))
    across, along = flat @ (cos, sin), flat @ (-sin, cos)
    depth_m = np.zeros(len(flat))
    if np.isfinite(bend_m):
        depth_m = bend_m * (1 - np.cos(across / bend_m))
        across = bend_m * np.sin(across / bend_m)
    points_m = np.stack([across * cos - along * sin, across * sin + along * cos, depth_m], axis=1)
    first = np.add.outer(np.arange(cells) * (cells + 1), np.arange(cells)).reshape(-1)
    right, below = first + 1, first + cells + 1
    triangles = np.concatenate(
        [np.stack([first, right, below], 1), np.stack([right, below + 1, below], 1)]
    )
    texture_px = np.stack([u, v], axis=-1).reshape(-1, 2)
    alpha = np.ones((height_px, width_px), np.float32)
    return Surface(texture, alpha, points_m, texture_px, triangles)
