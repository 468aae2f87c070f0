"""dlib's face_recognition, as its documentation recommends: defaults, compare by distance.

python dlib_peer.py SCENE_FOLDER    (in the environment of dlib.txt)
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import face_recognition  # type: ignore[import-not-found]
import numpy as np

ROUNDS = 15
ENROLLED = 50_000


def main() -> None:
    scene = Path(sys.argv[1])
    frame = np.load(scene / "frame.npy")
    portrait = face_recognition.load_image_file(scene / "enrolled.png")
    others = np.random.default_rng(1).standard_normal((ENROLLED, 128))
    gallery = others * (1.4 / np.linalg.norm(others, axis=1, keepdims=True))
    gallery[0] = face_recognition.face_encodings(portrait)[0]
    times_ms = []
    found = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        places = face_recognition.face_locations(frame)
        faces = face_recognition.face_encodings(frame, places)
        best = [int(np.argmin(face_recognition.face_distance(gallery, face))) for face in faces]
        times_ms.append(1000 * (time.perf_counter() - began_s))
        found.append(0 in best)
    name = f"face_recognition {version('face_recognition')}, dlib {version('dlib')}"
    print(json.dumps({"name": name, "times_ms": times_ms, "found": all(found)}))


if __name__ == "__main__":
    main()
