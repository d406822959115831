"""What the pixels of a merged frame depend on, as a short key: equal keys, equal pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from backend.core.network_files import first_network
from backend.core.settings import MergeLook, MergeSettings
from backend.environment import weights_folder
from backend.pipeline.merge_cut import XSEG_FRAME, XSEG_PREDICTED
from backend.pipeline.merge_scene import MergeScene, SceneFrame
from backend.pipeline.merge_steady import RADIUS
from backend.pipeline.merge_types import FacePlan, FramePlan
from backend.storage.merge_ledger import MergedRecord, digest, look_digest, rules_digest, run_words
from backend.storage.project import Project
from backend.storage.weights import default_folder, enhancer_folder, segmentation_folders

VERSION = "1"
"""Counts up when compositing changes, so that frames of before are merged again."""


class FrameKeys:
    """Keys and records of the frames of a merge.

    Args:
        project: whose networks may help.
        scene: the frames and their faces.
        settings: how they are merged.
        stamps: name -> stamp of the loaded models.
    """

    def __init__(self, project: Project, scene: MergeScene, settings: MergeSettings, stamps: Mapping[str, str]) -> None:
        self._project = project
        self._scene = scene
        self._settings = settings
        self._stamps = stamps
        self._rules = rules_digest(settings)
        self._clip = _identity(scene.clip) if scene.clip else ""
        self._networks: dict[str, str] = {}
        self._faces = lru_cache(maxsize=8 * RADIUS + 8)(self._faces_of)
        self._plan = lru_cache(maxsize=8 * RADIUS + 8)(lambda index: scene.plan(index, settings))
        self.steady = bool(settings.smooth_mask or settings.smooth_color)

    def record(self, index: int) -> MergedRecord:
        """What a frame will be made of. ``outcomes`` are still to come."""
        plan = self._plan(index)
        with_faces, blank = bool(plan.faces), _is_blank(plan)
        models = [self._settings.model] if blank else [face.model for face in plan.faces]
        return MergedRecord(
            stem=plan.stem,
            key=self._key(plan),
            look=look_digest(plan.look) if with_faces else "",
            rules=self._rules if with_faces or plan.left or blank else "",
            run=run_words(self._settings, with_faces, blank),
            models={name: self._stamps[name] for name in models},
        )

    def _key(self, plan: FramePlan) -> str:
        run = run_words(self._settings, bool(plan.faces), _is_blank(plan))
        parts = [VERSION, self._source(self._scene.frames[plan.index]), run]
        if _is_blank(plan):  # the square's side is the main model's
            parts += [self._settings.model, self._stamps[self._settings.model]]
        if plan.faces or _is_blank(plan):
            parts += [look_digest(plan.look), self._faces(plan.index), self._motion(plan), self._network(plan.look)]
        if plan.faces and self.steady:
            near = range(max(0, plan.index - RADIUS), min(len(self._scene.frames), plan.index + RADIUS + 1))
            parts += [self._faces(index) for index in near]
        return digest(*parts)

    def _faces_of(self, index: int) -> str:
        """Digest of a frame's faces, their models and what these are asked for; steadying also sees their colours."""
        plan = self._plan(index)
        steady = (look_digest(plan.look), self._source(self._scene.frames[index])) if self.steady else ()
        return digest(*steady, str(plan.look.morph_factor), *(part for face in plan.faces for part in self._face(face)))

    def _face(self, face: FacePlan) -> Sequence[str | bytes]:
        return (face.model, self._stamps[face.model], str(face.track), face.landmarks.tobytes())

    def _motion(self, plan: FramePlan) -> str:
        return digest(*(str(face.motion) for face in plan.faces)) if plan.look.motion_blur else ""

    def _source(self, frame: SceneFrame) -> str:
        return _identity(frame.file) if frame.file is not None else f"{self._clip} {frame.clip_index}"

    def _network(self, look: MergeLook) -> str:
        """Which installed networks help, as far as the look wants them."""
        wants = []
        if look.super_resolution:
            wants.append("enhancer")
        if look.mask_mode in (*XSEG_FRAME, *XSEG_PREDICTED):
            wants.append("segmentation")
        return " ".join(self._installed(name) for name in wants)

    def _installed(self, name: str) -> str:
        if name not in self._networks:
            weights_dir = weights_folder() or default_folder(self._project.path.parent)
            folders = [enhancer_folder(weights_dir)]
            if name == "segmentation":
                folders = list(segmentation_folders(weights_dir, self._project.model_root))
            file = first_network(folders)
            self._networks[name] = _identity(file) if file is not None else ""
        return self._networks[name]


def _is_blank(plan: FramePlan) -> bool:
    """Whether a black square stands in the frame's place: there is no face whose square could be given."""
    return plan.look.mode == "raw-predict" and not plan.faces


def _identity(file: Path) -> str:
    """Changes when a file does."""
    stat = file.stat()
    return f"{file.name} {stat.st_size} {stat.st_mtime_ns}"
