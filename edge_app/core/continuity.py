"""Has the face in a tracklet changed hands? A cheap look before the dear one.

Two people who cross can swap places under the tracker within a frame. Between two looks at
one person, a tenth of a second apart, a coarse sketch of the aligned face hardly changes
(correlation 0.95 and more while walking); another person's correlates with it by 0.8 at
most on the demo portraits. A change only asks for a new embedding, which then decides.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_app.records import Float32Array, ImageBgr

_SIDE = 16


def sketch(face: ImageBgr) -> Float32Array:
    """The middle of an aligned face, uint8 (112, 112, 3), as a unit vector of shape (256,).

    Brightness and contrast are taken out; a flat face gives zeros.
    """
    luma = cv2.cvtColor(face[16:104, 16:96], cv2.COLOR_BGR2GRAY)
    small = cv2.resize(luma, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    vector = small.reshape(-1) - small.mean()
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length > 0 else vector, dtype=np.float32)
