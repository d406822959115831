"""S3FD: a VGG16 with face heads at six scales (Zhang et al. 2017), from the package face-alignment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from backend.core.faces import Detection
from backend.models.detection.base import Float32, Image, by_area, shorter_side
from backend.models.detection.torch_weights import fill

_LOOSEST_SCORE = 0.05
_OVERLAP = 0.3
_CAFFE_MEAN_BGR = (104.0, 117.0, 123.0)
_CHIN = 0.1


class S3fd:
    """S3FD detector, searching as DeepFaceLab does: on a reduced frame, boxes lengthened for the chin.

    Args:
        file: s3fd-619a316812.pth.
        device: torch device.
        min_face_px: smallest face side to keep, in frame pixels.
        score: lowest face probability.

    Raises:
        DamagedFileError: the file does not hold these weights.
    """

    name = "s3fd"

    def __init__(self, file: Path, device: str = "cpu", min_face_px: int = 40, score: float = 0.5) -> None:
        from face_alignment.detection.sfd.net_s3fd import s3fd

        self._device = torch.device(device)
        self._net = fill(s3fd(), file, self._device)
        self._min_face_px = min_face_px
        self._score = score

    @torch.inference_mode()
    def detect(self, frame_bgr: Image) -> list[Detection]:
        """Faces of a (h, w, 3) uint8 BGR frame, largest first, without points."""
        height, width = frame_bgr.shape[:2]
        reduction = max(height, width) / _search_side(max(height, width))
        size = (max(1, round(width / reduction)), max(1, round(height / reduction)))
        small = cv2.resize(frame_bgr, size, interpolation=cv2.INTER_LINEAR).astype(np.float32) - _CAFFE_MEAN_BGR
        batch = torch.from_numpy(small.astype(np.float32)).permute(2, 0, 1)[None].to(self._device)
        boxes, scores = _decoded(self._net(batch))
        kept = [k for k in _suppressed(boxes, scores) if scores[k] >= self._score]
        boxes = boxes * reduction
        kept = [k for k in kept if shorter_side(boxes[k]) >= self._min_face_px]
        boxes[:, 3] += _CHIN * (boxes[:, 3] - boxes[:, 1])
        return by_area([Detection(boxes[k].astype(np.float32), float(scores[k])) for k in kept])


def _search_side(longer_side: int) -> int:
    """Longer side of the frame that is searched: 640 for big frames, half of small ones, at least 64."""
    return max(64, 640 if longer_side >= 1280 else longer_side // 2)


def _decoded(heads: list[torch.Tensor]) -> tuple[Float32, Float32]:
    """(n, 4) boxes and (n,) scores of all cells above the loosest threshold, in pixels of the searched frame.

    Args:
        heads: per scale (stride 4, 8 ... 128) class scores (1, 2, h, w) and box offsets (1, 4, h, w).
    """
    boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    for level, (classes, offsets) in enumerate(zip(heads[::2], heads[1::2], strict=True)):
        stride = float(2 ** (level + 2))
        score = torch.softmax(classes, dim=1)[0, 1].cpu().numpy()
        rows, columns = np.nonzero(score > _LOOSEST_SCORE)
        offset = offsets[0].permute(1, 2, 0).cpu().numpy()[rows, columns]
        centre = (np.stack([columns, rows], axis=1) + 0.5) * stride + offset[:, :2] * 0.1 * 4 * stride
        half = np.exp(offset[:, 2:] * 0.2) * 2 * stride
        boxes.append(np.concatenate([centre - half, centre + half], axis=1).astype(np.float32))
        scores.append(score[rows, columns])
    return np.concatenate(boxes), np.concatenate(scores)


def _suppressed(boxes: Float32, scores: Float32) -> list[int]:
    """Indices left by greedy non-maximum suppression, best first."""
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    found = cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), _LOOSEST_SCORE, _OVERLAP)
    return [int(index) for index in np.asarray(found).reshape(-1)]
