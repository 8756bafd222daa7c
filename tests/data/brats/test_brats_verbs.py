"""BraTS: `studio data check` and `preview`, and phantoms in the layout of BraTS."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from support.brats_files import brats_config, head, open_brats, write_patient

from studio.data.catalogue import check, describe
from studio.render.preview import preview


def test_check_and_preview_describe_brats(root: Path) -> None:
    report = check(brats_config(root))
    assert report["ok"], report
    assert report == json.loads(json.dumps(report))
    assert report["shape"] == [1, 24, 24]
    text = describe(report)
    assert "attribute tumour_side: salient, one of left, right, target only" in text
    assert preview(open_brats(root), 3).size > (100, 100)
    write_patient(root / "BraTS2021_00000", t1=head(0), t2=head(1))
    for number in range(30):
        write_patient(root / f"BraTS2021_{number:05}", t2=head(1))
    assert preview(open_brats(root, modalities=["t1", "t2"]), 2).size > (100, 100)


def test_brats_reads_written_phantoms_correctly(tmp_path: Path) -> None:
    phantom = pytest.importorskip("studio.data.brain_phantom")
    phantom.write_brats(tmp_path, 12, seed=1, side=48, slices=range(86, 95))
    data = open_brats(
        tmp_path,
        resolution=64,
        slices=(86, 94),
        slice_step=2,
        min_tumour=1.0,
        modalities=["t1", "flair"],
    )
    assert data.quarantined == []
    assert data.shape == (2, 64, 64)
    seen = 0
    for split in ("train", "test"):
        labels, masks = (
            data.labels(split, "target"),
            data.masks(split, range(data.size(split, "target"))),
        )
        for i, patient in enumerate(data.item_patients(split, "target")):
            folder = tmp_path / patient.name
            seg = nibabel.load(folder / f"{folder.name}_seg.nii.gz")
            plane = np.asarray(seg.dataobj)[:, :, int(labels["slice"][i])]
            assert labels["tumour_area"][i] == pytest.approx(
                np.count_nonzero(plane) * 0.25, rel=1e-5
            )  # voxels of 5 mm
            # Where the patient's own axes say the tumour is, in mm: x to the right, y to the front.
            head_ = np.asarray(nibabel.load(folder / f"{folder.name}_t1.nii.gz").dataobj)[
                :, :, int(labels["slice"][i])
            ]
            place, centre = (
                seg.affine[:2, :2] @ np.argwhere(values).mean(0) for values in (plane, head_)
            )
            if abs(place[0] - centre[0]) > 10:
                side = data.attributes["tumour_side"].classes[labels["tumour_side"][i]]
                assert side == ("right" if place[0] > centre[0] else "left")
                seen += 1
            rows, columns = torch.nonzero(masks[i], as_tuple=True)
            assert (columns.double().mean() + 0.5) / 32 - 1 == pytest.approx(
                labels["tumour_x"][i], abs=0.05
            )
            assert (rows.double().mean() + 0.5) / 32 - 1 == pytest.approx(
                labels["tumour_y"][i], abs=0.05
            )
    assert seen >= 3
