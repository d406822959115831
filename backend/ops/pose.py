"""Head pose: pitch, yaw and roll from 68 landmarks and a generic 3D face."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

# Generic 3D positions of the 68 landmarks: x right, y down, z away from the camera, arbitrary unit.
LANDMARKS_3D: npt.NDArray[np.float64] = np.array(
    [
        (-73.393523, -29.801432, 47.667532),
        (-72.775014, -10.949766, 45.909403),
        (-70.533638, 7.929818, 44.842580),
        (-66.850058, 26.074280, 43.141114),
        (-59.790187, 42.564390, 38.635298),
        (-48.368973, 56.481080, 30.750622),
        (-34.121101, 67.246992, 18.456453),
        (-17.875411, 75.056892, 3.609035),
        (0.098749, 77.061286, -0.881698),
        (17.477031, 74.758448, 5.181201),
        (32.648966, 66.929021, 19.176563),
        (46.372358, 56.311389, 30.770570),
        (57.343480, 42.419126, 37.628629),
        (64.388482, 25.455880, 40.886309),
        (68.212038, 6.990805, 42.281449),
        (70.486405, -11.666193, 44.142567),
        (71.375822, -30.365191, 47.140426),
        (-61.119406, -49.361602, 14.254422),
        (-51.287588, -58.769795, 7.268147),
        (-37.804800, -61.996155, 0.442051),
        (-24.022754, -61.033399, -6.606501),
        (-11.635713, -56.686759, -11.967398),
        (12.056636, -57.391033, -12.051204),
        (25.106256, -61.902186, -7.315098),
        (38.338588, -62.777713, -1.022953),
        (51.191007, -59.302347, 5.349435),
        (60.053851, -50.190255, 11.615746),
        (0.653940, -42.193790, -13.380835),
        (0.804809, -30.993721, -21.150853),
        (0.992204, -19.944596, -29.284036),
        (1.226783, -8.414541, -36.948060),
        (-14.772472, 2.598255, -20.132003),
        (-7.180239, 4.751589, -23.536684),
        (0.555920, 6.562900, -25.944448),
        (8.272499, 4.661005, -23.695741),
        (15.214351, 2.643046, -20.858157),
        (-46.047290, -37.471411, 7.037989),
        (-37.674688, -42.730510, 3.021217),
        (-27.883856, -42.711517, 1.353629),
        (-19.648268, -36.754742, -0.111088),
        (-28.272965, -35.134493, -0.147273),
        (-38.082418, -34.919043, 1.476612),
        (19.265868, -37.032306, -0.665746),
        (27.894191, -43.342445, 0.247660),
        (37.437529, -43.110822, 1.696435),
        (45.170805, -38.086515, 4.894163),
        (38.196454, -35.532024, 0.282961),
        (28.764989, -35.484289, -1.172675),
        (-28.916267, 28.612716, -2.240310),
        (-17.533194, 22.172187, -15.934335),
        (-6.684590, 19.029051, -22.611355),
        (0.381001, 20.721118, -23.748437),
        (8.375443, 19.035460, -22.721995),
        (18.876618, 22.394109, -15.610679),
        (28.794412, 28.079924, -3.217393),
        (19.057574, 36.298248, -14.987997),
        (8.956375, 39.634575, -22.554245),
        (0.381549, 40.395647, -23.591626),
        (-7.428895, 39.836405, -22.406106),
        (-18.160634, 36.677899, -15.121907),
        (-24.377490, 28.677771, -4.785684),
        (-6.897633, 25.475976, -20.893742),
        (0.340663, 26.014269, -22.220479),
        (8.444722, 25.326198, -21.025520),
        (24.474473, 28.323008, -5.712776),
        (8.449166, 30.596216, -20.671489),
        (0.205322, 31.408738, -21.903670),
        (-7.198266, 30.844876, -20.328022),
    ],
    dtype=np.float64,
)
LANDMARKS_3D.setflags(write=False)

# Jaw, brows, nose tip and nostrils: the points that move least with the expression.
_POSE_INDEXES = np.array([*range(27), *range(30, 36)])
_POSE_INDEXES.setflags(write=False)


def estimate_pose(landmarks_aligned_68x2: npt.ArrayLike, size: int) -> tuple[float, float, float]:
    """Pitch, yaw and roll of a head from the landmarks of its aligned crop.

    Camera, points and angles are DeepFaceLab's (reference section 1.4: focal length and both sides of the picture are
    the crop's size; Rodrigues angles clipped to +-pi/2; the sign of pitch turned round). Its iterative solver often
    finds the head behind the camera, with a roll of +-90 degrees and a yaw that is off by up to 0.4; head_rotation()
    does not.

    Args:
        landmarks_aligned_68x2: (68, 2) landmarks in pixels of the crop.
        size: side of the crop in pixels.

    Returns:
        (pitch, yaw, roll) in radians, each within +-pi/2; all zero when no pose can be found. Positive pitch looks
        up, positive yaw turns the nose to the left of the picture.
    """
    r = head_rotation(landmarks_aligned_68x2, size)
    if r is None:
        return 0.0, 0.0, 0.0
    sine = float(np.hypot(r[0, 0], r[1, 0]))
    if sine < 1e-6:
        angles = np.array([np.arctan2(-r[1, 2], r[1, 1]), np.arctan2(-r[2, 0], sine), 0.0])
    else:
        angles = np.array([np.arctan2(r[2, 1], r[2, 2]), np.arctan2(-r[2, 0], sine), np.arctan2(r[1, 0], r[0, 0])])
    pitch, yaw, roll = np.clip(angles, -np.pi / 2, np.pi / 2)
    return -float(pitch), float(yaw), float(roll)


def head_rotation(landmarks_68x2: npt.ArrayLike, size: int) -> npt.NDArray[np.float64] | None:
    """Rotation of a head in front of the camera, for comparing poses.

    SQPnP (Terzakis and Lourakis, "A consistently fast and globally optimal solution to the
    perspective-n-point problem", 2020) with the camera and the points of estimate_pose().

    Args:
        landmarks_68x2: (68, 2) landmarks in pixels of a square crop.
        size: side of the crop in pixels.

    Returns:
        (3, 3) float64, generic head -> camera; None when no pose can be found.
    """
    points = np.ascontiguousarray(np.asarray(landmarks_68x2, dtype=np.float64)[_POSE_INDEXES])
    camera = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]], dtype=np.float64)
    try:
        found, rotation, _ = cv2.solvePnP(
            LANDMARKS_3D[_POSE_INDEXES], points, camera, np.zeros((4, 1)), flags=cv2.SOLVEPNP_SQPNP
        )
    except cv2.error:
        return None
    return np.asarray(cv2.Rodrigues(rotation)[0]) if found and np.isfinite(rotation).all() else None
