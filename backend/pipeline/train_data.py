"""The faces a training learns from: the project's two facesets, one pretraining faceset for both sides, or noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.core.errors import BadInputError
from backend.core.settings import SaehdSettings, TrainSettings
from backend.models.base import FaceSwapModel
from backend.pipeline.context import StageContext
from backend.storage.faceset import Faceset
from backend.storage.model_folder import ModelFolder
from backend.training.augment import Augmenter
from backend.training.dataset import CacheBudget, FaceCache, FaceShape, LoadReport, load_faces
from backend.training.loader import BatchLoader
from backend.training.loop import Training
from backend.training.sampler import Share, build_samplers
from backend.training.synthetic import synthetic_faces

_LISTED = 20
_SYNTHETIC_FACES = 256


@dataclass(frozen=True)
class TrainingData:
    """Both sides' faces, and which of them train and which are held out. Pretraining has one set for both.

    Attributes:
        files: names of the face files in each folder, as they were listed.
    """

    src: FaceCache
    dst: FaceCache
    holdout_every: int
    files: Mapping[Path, frozenset[str]] = field(default_factory=dict)

    def changed(self) -> list[Path]:
        """Folders whose face files are not those any more that were there when they were listed."""
        return [folder for folder, names in self.files.items() if _face_files(folder) != names]

    def augmenter(self, training: Training) -> Augmenter:
        """What distorts the batches of this training."""
        return Augmenter(training.settings, training.generator, training.step.device, _share(training))

    def loader(self, training: Training) -> BatchLoader:
        """Batches from where the training stands."""
        src, dst = ((side, side.split(self.holdout_every)[0]) for side in (self.src, self.dst))
        samplers = build_samplers(src, dst, training.settings, training.drawn)
        return BatchLoader(
            (self.src, samplers[0]),
            (self.dst, samplers[1]),
            training.settings,
            pin=training.step.device.type == "cuda",
            share=_share(training),
        )


def _share(training: Training) -> Share:
    """The part of every batch that this process works on."""
    return Share(training.ranks.rank, training.ranks.count)


def load_data(model: FaceSwapModel, settings: TrainSettings, folder: ModelFolder, ctx: StageContext) -> TrainingData:
    """Decode the faces these settings ask for.

    Raises:
        BadInputError: too few faces, or the pretraining folder is not there.
    """
    apart = settings.effective().parts_apart
    shape = FaceShape(model.resolution, model.channels, model.face_type, parts_apart=apart)
    if settings.synthetic:
        ctx.log("Training on noise instead of faces: good for measuring speed, and for nothing else.", "warning")
        faces = [synthetic_faces(shape, _SYNTHETIC_FACES, settings.seed + side) for side in range(2)]
        return TrainingData(faces[0], faces[1], 0)
    budget = CacheBudget(settings.cache_mb << 20, folder.cache_dir)
    report = LoadReport(lambda done, total: ctx.progress(done, total, "faces", message="Loading faces"), ctx.check_stop)
    sets = _facesets(settings, ctx)
    files = {faceset.folder: _face_files(faceset.folder) for faceset in sets.values()}
    records = {name: faceset.records() for name, faceset in sets.items()}
    for name, faceset in sets.items():
        if not records[name] and faceset.pack_file:
            pack = faceset.pack_file.name
            raise BadInputError(f"All {name} faces are in {pack}.", "Unpack it in the Sort tab first.")
    names = list(sets)
    zoom = 1 + settings.effective().src_scale / 100
    src, dst = load_faces(records[names[0]], records[names[-1]], shape, budget, report, zoom)
    for name, cache in zip(names, (src, dst), strict=False):
        damaged = sets[name].damaged()
        for file, reason in [*damaged, *cache.skipped][:_LISTED]:
            ctx.log(f"{name} face {file} was left out: {reason}", "warning")
        trained, held = cache.split(settings.holdout_every)
        left_out = len(cache.skipped) + len(damaged)
        ctx.log(f"{len(trained)} {name} faces to train on, {len(held)} held out, {left_out} left out.")
    return TrainingData(src, dst, settings.holdout_every, files)


def _face_files(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.glob("*.jpg"))


def _facesets(settings: TrainSettings, ctx: StageContext) -> dict[str, Faceset]:
    """Name -> faceset: src and dst, or the one for pretraining."""
    if not (isinstance(settings, SaehdSettings) and settings.pretrain):
        return {side: ctx.project.side(side).faceset() for side in ("src", "dst")}
    folder = Path(settings.pretrain_faces.strip()).expanduser()
    if not folder.is_absolute():
        folder = ctx.project.path.parent / folder
    if not folder.is_dir():
        raise BadInputError(
            f"The pretraining folder {folder} is not there.",
            "Name a folder of aligned faces, for example another project's data_src/aligned.",
        )
    return {"pretraining": Faceset(folder, folder.with_name(f"{folder.name}_trash"))}
