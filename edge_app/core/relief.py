"""Head or sheet? Two questions to a face that turned, which a flat or bent picture answers wrongly.

FaceMesh knows faces only: on a bent or slanted print it moves the nose as a head's would move.

- Did it narrow as it turned? A head whose nose says 25 degrees narrows by the cosine of 25
  degrees. A sheet has to be turned much further before the mesh moves its nose as far.
- Did the picture follow the mesh? The resting picture is moved in two ways to where the turned one
  should be: as the mesh says (a head), and by the smooth map nearest to it (a sheet). What the
  camera saw decides. This is the idea of plane plus parallax (Irani and Anandan, "A unified
  approach to moving object detection in 2D and 3D scenes", IEEE PAMI 20(6), 1998), with a map of
  degree two in the place of the plane.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.core.geometry import apply, warp_crop
from edge_app.records import FaceMesh, Float32Array, ImageBgr

_PATCH_PX = 128
_SCALE_PX = 44.0
"""Distance of the eyes, or from eyes to mouth if that is larger, in a patch."""

_DETAIL_PX = 6.0
"""Shading coarser than this is left out: it belongs to the light, not to the face."""

_FOLDED = 0.3
"""A triangle shrunk below this share of the usual one has turned away."""

_MARGIN_PX = 3
_LEAST_PX = 50

_STEEP_DEG = 45.0
"""Beyond this the mesh's rotation is not trusted: it reads 30 to 50 for a head turned by 40."""

_EDGE_ON = 0.05

_EYES = ((33, 133), (362, 263))
_MOUTH = (61, 291)
_NOSE = (
    168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 48, 278, 64, 294, 129, 358,
    126, 355, 198, 420, 217, 437, 174, 399, 188, 412, 193, 417, 122, 351, 245, 465,
)  # fmt: skip
"""FaceMesh's points of the nose, which no sheet has, and of its flanks."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A face at a fixed size, upright.

    grey:   float32 (128, 128), fine detail only: what is coarser is taken off.
    points: float64 (468, 2), FaceMesh's points in it, pixels.
    """

    grey: Float32Array = field(repr=False)
    points: NDArray[np.float64] = field(repr=False)


def patch(image: ImageBgr, mesh: FaceMesh) -> Patch:
    """The face's patch."""
    points = mesh.points_px[:, :2]
    right, left = (points[list(corners)].mean(axis=0) for corners in _EYES)
    eyes, mouth = (right + left) / 2, points[list(_MOUTH)].mean(axis=0)
    across, down = left - right, mouth - eyes
    scale = _SCALE_PX / max(float(np.hypot(*across)), float(np.hypot(*down)), 1.0)
    lean = np.arctan2(across[1], across[0])
    cos, sin = scale * np.cos(lean), scale * np.sin(lean)
    turn = np.array([[cos, sin], [-sin, cos]])
    transform = np.column_stack([turn, _PATCH_PX / 2 - turn @ ((eyes + mouth) / 2)])
    grey = cv2.cvtColor(warp_crop(image, transform, _PATCH_PX), cv2.COLOR_BGR2GRAY)
    fine = grey.astype(np.float32)
    fine -= cv2.GaussianBlur(fine, (0, 0), _DETAIL_PX)
    return Patch(fine, apply(transform, points).astype(np.float64))


def relief(rest: Patch, turned: Patch, turn_deg: float) -> float:
    """How much more the turned view looks like a head's than like a sheet's: above zero for most
    heads, below for most sheets; the sum of `narrowing` and `following`.

    turn_deg: the rotation that the nose shows.
    """
    return narrowing(rest, turned, turn_deg) + following(rest, turned)


def narrowing(rest: Patch, turned: Patch, turn_deg: float) -> float:
    """How the face narrowed, against a head that turned so far: the logarithm of their ratio.

    Zero for a head, below for a sheet that was turned further than its nose shows.
    """
    motion, *_ = np.linalg.lstsq(_terms(rest.points, 1), turned.points, rcond=None)
    wide, narrow = np.linalg.svd(motion[1:], compute_uv=False)
    if wide == 0:
        return 0.0
    expected = np.cos(np.radians(min(abs(turn_deg), _STEEP_DEG)))
    return float(np.log(max(narrow / wide, _EDGE_ON) / expected))


def following(rest: Patch, turned: Patch) -> float:
    """How much better a head than a sheet explains the turned picture.

    The difference of two correlations around the nose, -2 to 2. Zero if too little of the nose can
    be seen in both.
    """
    triangles = _triangles(rest.points)
    if not len(triangles):
        return 0.0
    rows, columns, owner = _pixels(rest.points, triangles)
    seen = ~_turned_away(rest.points, turned.points, triangles)[owner]
    rows, columns, owner = rows[seen], columns[seen], owner[seen]
    if rows.size < _LEAST_PX:
        return 0.0
    pixels = np.stack([columns, rows], axis=1).astype(np.float64)
    head = _by_triangle(pixels, owner, rest.points[triangles], turned.points[triangles])
    terms, *_ = np.linalg.lstsq(_terms(rest.points, 2), turned.points, rcond=None)
    sheet = _terms(pixels, 2) @ terms
    here = rest.grey[rows, columns]
    as_head, as_sheet = _sample(turned.grey, head), _sample(turned.grey, sheet)
    return _correlation(here, as_head) - _correlation(here, as_sheet)


def _triangles(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Delaunay's, shape (n, 3): indices of points."""
    x0, y0 = np.floor(points.min(axis=0)).astype(int) - 1
    x1, y1 = np.ceil(points.max(axis=0)).astype(int) + 2
    plane = cv2.Subdiv2D((int(x0), int(y0), int(x1 - x0), int(y1 - y0)))
    corners = points.astype(np.float32)
    number = {}
    for i, (x, y) in enumerate(corners.tolist()):
        plane.insert((x, y))
        number[x, y] = i
    found = np.asarray(plane.getTriangleList(), np.float32).reshape(-1, 3, 2).tolist()
    named = [[number.get((x, y), -1) for x, y in triangle] for triangle in found]
    whole = [triangle for triangle in named if min(triangle) >= 0]
    return np.array(whole, np.int64).reshape(-1, 3)


def _pixels(
    points: NDArray[np.float64], triangles: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the nose's pixels, and the triangle that each lies in."""
    region = np.zeros((_PATCH_PX, _PATCH_PX), np.uint8)
    hull = cv2.convexHull(points[list(_NOSE)].astype(np.float32))
    cv2.fillConvexPoly(region, np.round(hull).astype(np.int32), (1,))
    region = np.asarray(cv2.dilate(region, np.ones((2 * _MARGIN_PX + 1,) * 2, np.uint8)), np.uint8)
    owners = np.full(region.shape, -1, np.int32)
    for number, corners in enumerate(np.round(points[triangles] * 16).astype(np.int32)):
        cv2.fillConvexPoly(owners, corners, (number,), shift=4)
    rows, columns = np.nonzero((region > 0) & (owners >= 0))
    return rows, columns, owners[rows, columns].astype(np.int64)


def _turned_away(
    rest: NDArray[np.float64], turned: NDArray[np.float64], triangles: NDArray[np.int64]
) -> NDArray[np.bool_]:
    share = _areas(turned[triangles]) / np.maximum(np.abs(_areas(rest[triangles])), 1e-6)
    share *= np.sign(_areas(rest[triangles]))
    return np.asarray(share < _FOLDED * np.median(share))


def _areas(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twice the signed areas of triangles, shape (n, 3, 2)."""
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _by_triangle(
    pixels: NDArray[np.float64],
    owner: NDArray[np.int64],
    rest: NDArray[np.float64],
    turned: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Where pixels, shape (n, 2), go when each triangle moves to its place in the turned view."""
    a, b, c = rest[owner].transpose(1, 0, 2)
    area = _areas(rest)[owner]
    area = np.where(np.abs(area) < 1e-6, 1e-6, area)
    towards_b = _areas(np.stack([a, pixels, c], axis=1)) / area
    towards_c = _areas(np.stack([a, b, pixels], axis=1)) / area
    to_a, to_b, to_c = turned[owner].transpose(1, 0, 2)
    moved = to_a + towards_b[:, None] * (to_b - to_a) + towards_c[:, None] * (to_c - to_a)
    return np.asarray(moved)


def _terms(points: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """Of a polynomial of degree 1 or 2, shape (n, 3 or 6)."""
    x, y = (points / _PATCH_PX - 0.5).T
    terms = [np.ones_like(x), x, y]
    if degree == 2:
        terms += [x * x, x * y, y * y]
    return np.stack(terms, axis=1)


def _sample(grey: Float32Array, places: NDArray[np.float64]) -> Float32Array:
    x, y = places.astype(np.float32).T
    sampled = cv2.remap(
        grey, x[:, None], y[:, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(sampled[:, 0], np.float32)


def _correlation(left: Float32Array, right: Float32Array) -> float:
    left, right = left - left.mean(), right - right.mean()
    length = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / length if length > 0 else 0.0
