"""Facts about the encoders: sizes, sources, where trained weights are published."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backend.core.encoder_sources import Variant, pretrained_source, why_untrained
from backend.core.encoders import ENCODERS, TIMM_NAMES, encoder_input_px


def test_there_are_47_and_every_one_from_timm_has_a_name_there() -> None:
    assert len(ENCODERS) == 47
    assert set(TIMM_NAMES) == {name for name, facts in ENCODERS.items() if facts.source == "timm"}


@pytest.mark.parametrize(
    ("name", "scaling", "px"),
    [
        ("fs_original", 7, 64),
        ("fs_original", 13, 128),
        ("fs_original", 100, 1024),
        ("densenet121", 57.5, 128),
        ("efficientnet_b4", 60, 224),
        ("efficientnet_v2_s", 100, 384),
        ("clipv_vit-b-16", 29, 64),
        ("clipv_vit-b-16", 58, 128),
        ("clipv_vit-l-14", 100, 224),
        ("xception", 0, 71),
        ("inception_v3", 10, 75),
        ("resnet50", 0, 32),
    ],
)
def test_the_scaling_gives_the_size(name: str, scaling: float, px: int) -> None:
    assert encoder_input_px(name, scaling) == px


def test_where_weights_are_published_is_what_the_facts_say() -> None:
    for name, facts in ENCODERS.items():
        source = pretrained_source(name)
        assert (source is not None) == facts.pretrained, name
        assert bool(why_untrained(name)) == (source is None)
        if source is not None:
            assert source.stem == name
            assert all(url.startswith("https://") for url in source.urls)


@pytest.mark.parametrize(
    ("name", "variant", "stem", "repository"),
    [
        ("mobilenet", Variant(0.75), "mobilenet_0.75", "google/mobilenet_v1_0.75_192"),
        ("mobilenet_v2", Variant(1.4), "mobilenet_v2_1.40", "google/mobilenet_v2_1.4_224"),
        ("mobilenet_v2", Variant(1.0, 5, True), "mobilenet_v2", "google/mobilenet_v2_1.0_224"),
        ("mobilenet_v3_small", Variant(0.75), "mobilenet_v3_small_0.75", "timm/tf_mobilenetv3_small_075.in1k"),
        (
            "mobilenet_v3_large",
            Variant(minimalistic=True),
            "mobilenet_v3_large_minimalistic",
            "timm/tf_mobilenetv3_large_minimal_100.in1k",
        ),
        ("efficientnet_v2_s", Variant(0.5), "efficientnet_v2_s", "timm/tf_efficientnetv2_s.in21k_ft_in1k"),
        ("clipv_farl-b-16-64", Variant(), "clipv_farl-b-16-64", "FaRL-Base-Patch16-LAIONFace20M-ep64.pth"),
    ],
)
def test_variants_have_files_of_their_own(name: str, variant: Variant, stem: str, repository: str) -> None:
    source = pretrained_source(name, variant)
    assert source is not None
    assert source.stem == stem
    assert all(repository in url for url in source.urls)


@pytest.mark.parametrize(
    ("name", "variant", "words"),
    [
        ("mobilenet", Variant(0.5), "have a width of 0.75 or 1."),
        ("mobilenet", Variant(depth=2), "have a depth of 1."),
        ("mobilenet_v2", Variant(0.5), "have a width of 0.35, 0.75, 1 or 1.4."),
        ("mobilenet_v3_large", Variant(0.75, minimalistic=True), "have a width of 1."),
        ("nasnet_mobile", Variant(), "No trained weights of nasnet_mobile"),
        ("resnet152_v2", Variant(), "No trained weights of resnet152_v2"),
    ],
)
def test_what_has_no_weights_says_which_have(name: str, variant: Variant, words: str) -> None:
    assert pretrained_source(name, variant) is None
    assert words in why_untrained(name, variant)


def test_the_facts_need_no_library() -> None:
    code = (
        "import sys, backend.storage.encoder_weights\n"
        "assert not {'torch', 'transformers', 'timm', 'cv2', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
