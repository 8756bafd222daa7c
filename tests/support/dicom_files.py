"""DICOM files that tests write, without any pixels of a patient."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

__all__ = ["AXES", "write_image", "write_series"]

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

AXES = {  # direction of the columns and of the rows, in DICOM's left, back and head
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "oblique": ((0.8, 0.6, 0), (-0.6, 0.8, 0)),
}


def write_image(path: Path, stored: np.ndarray, **fields: Any) -> None:
    """Writes one image. Fields that are None are left out."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = dataset.StudyInstanceUID = generate_uid()
    dataset.PatientID, dataset.Modality = "nobody", "CT"
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 3 if stored.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if stored.ndim == 3 else "MONOCHROME2"
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    bits = stored.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    for name, value in fields.items():
        if value is None:
            dataset.pop(name, None)
        else:
            setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def write_series(
    folder: Path,
    stored: np.ndarray,
    axes: str = "axial",
    spacing: tuple[float, float, float] = (0.5, 0.75, 2.0),
    origin: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    **fields: Any,
) -> np.ndarray:
    """Writes a series (slices, rows, columns) whose names and numbers are not in its order.

    Args:
        folder: folder of the files.
        stored: stored values.
        axes: a key of `AXES`.
        spacing: of columns, rows and slices in mm.
        origin: position of the first voxel, in DICOM's axes.
        fields: of every file.

    Returns:
        affine from (column, row, slice) to DICOM's left, back and head in mm.
    """
    from pydicom.uid import generate_uid

    across, down = (np.array(part, float) for part in AXES[axes])
    along = np.cross(across, down)
    shared = {
        "SeriesInstanceUID": generate_uid(),
        "ImageOrientationPatient": [*across, *down],
        "PixelSpacing": [spacing[1], spacing[0]],
        **fields,
    }
    for number, plane in enumerate(stored):
        place = np.array(origin) + number * spacing[2] * along
        name = f"{(7 * number + 3) % len(stored):03}{number}.dcm"
        write_image(
            folder / name,
            plane,
            **{"ImagePositionPatient": [*place], "InstanceNumber": 1, **shared},
        )
    affine = np.eye(4)
    affine[:3] = np.stack(
        [across * spacing[0], down * spacing[1], along * spacing[2], np.array(origin)], 1
    )
    return affine
