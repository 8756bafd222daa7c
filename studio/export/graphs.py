"""Encode, decode and heal as programs for other software: torch.export (`.pt2`) and ONNX.

Each program is compared with the method. Programs accept any number of images in float32 and return
float32: `encode(images) -> z, s`, `decode(z, s) -> images` and `heal(images) -> images`. In ONNX
the axis of the images is named `batch`.
"""

import copy
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from studio.errors import StudioError
from studio.method import Code, Method

__all__ = ["PROGRAMS", "TOLERANCE", "onnx_programs", "refuse_mismatch", "torch_programs"]

# Absolute for images in [-1, 1] and codes up to 1, relative to the largest value of larger codes.
TOLERANCE = 1e-4

PROGRAMS = {  # name -> inputs and outputs
    "encode": (["images"], ["z", "s"]),
    "decode": (["z", "s"], ["images"]),
    "heal": (["images"], ["healed"]),
}
BATCH_AXIS = "batch"

Outputs = tuple[np.ndarray, ...]
Program = torch.export.ExportedProgram


class Encode(nn.Module):
    """The function `encode` of a method as a module."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps images (B, ...) to z (B, n) and s (B, m)."""
        z, s = self.method.encode(images)
        return z, s


class Decode(nn.Module):
    """The function `decode` of a method as a module."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, z: Tensor, s: Tensor) -> Tensor:
        """Maps z (B, n) and s (B, m) to images (B, ...)."""
        return self.method.decode(Code(z, s))


class Heal(nn.Module):
    """Decoding the common code with the blank salient code, as a module."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.blank = method.blank(1).detach().clone()

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, ...) to their pseudo-healthy counterparts (B, ...)."""
        z, _ = self.method.encode(images)
        return self.method.decode(Code(z, self.blank.expand(z.shape[0], -1)))


def torch_programs(
    method: Method, images: Tensor, folder: Path
) -> tuple[dict[str, Program], dict[str, float]]:
    """Writes `encode.pt2`, `decode.pt2` and `heal.pt2`.

    Args:
        method: in eval mode, on the CPU.
        images: at least two images for the comparison, (n, ...).
        folder: folder of the files.

    Returns:
        the programs by name, and the largest difference from the method for each file.
    """
    plain = copy.deepcopy(method).to(memory_format=torch.contiguous_format)
    code = _code(method, images)
    batch = torch.export.Dim("batch", min=1)
    examples: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
        "encode": (Encode(plain), (images[:2],)),
        "decode": (Decode(plain), (code.z[:2], code.s[:2])),
        "heal": (Heal(plain), (images[:2],)),
    }
    programs: dict[str, Program] = {}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (module, example) in examples.items():
            shapes = tuple({0: batch} for _ in example)
            programs[name] = torch.export.export(module.eval(), example, dynamic_shapes=shapes)
            torch.export.save(programs[name], folder / f"{name}.pt2")
        read = {name: torch.export.load(folder / f"{name}.pt2").module() for name in programs}

    def run(name: str, inputs: Sequence[np.ndarray]) -> Outputs:
        with torch.no_grad():
            found = read[name](*map(torch.from_numpy, inputs))
        return tuple(part.numpy() for part in (found if isinstance(found, tuple) else (found,)))

    return programs, {
        f"{name}.pt2": value for name, value in _differences(method, images, run).items()
    }


def onnx_programs(
    method: Method, programs: dict[str, Program], images: Tensor, folder: Path
) -> tuple[dict[str, float], str]:
    """Writes `encode.onnx`, `decode.onnx` and `heal.onnx` if the programs can be converted.

    Args:
        method: in eval mode, on the CPU.
        programs: programs from `torch_programs`.
        images: images for the comparison.
        folder: folder of the files.

    Returns:
        the largest difference from the method for each file and the name of the runtime, or no
        files and the reason.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        return (
            {},
            f"no ONNX: {' and '.join(missing)} not installed "
            "(pip install 'contrastive-studio[export]')",
        )
    paths = {name: folder / f"{name}.onnx" for name in PROGRAMS}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, (inputs, outputs) in PROGRAMS.items():
                torch.onnx.export(
                    programs[name],
                    f=str(paths[name]),
                    input_names=inputs,
                    output_names=outputs,
                    verbose=False,
                    external_data=False,
                )
                _name_batch_axis(paths[name])
        run, runner = _onnx_runner(paths)
        differences = _differences(method, images, run)
    except Exception as error:  # converters and runtimes raise all kinds of errors
        for path in paths.values():
            path.unlink(missing_ok=True)
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return {}, f"no ONNX: not converted ({type(error).__name__}: {first[:200]})"
    return {f"{name}.onnx": value for name, value in differences.items()}, runner


def refuse_mismatch(differences: dict[str, float]) -> None:
    """Refuses programs that differ from the method.

    Raises:
        StudioError: a difference exceeds `TOLERANCE` or is NaN.
    """
    wrong = [
        f"{name} by {value:.3g}" for name, value in differences.items() if not value <= TOLERANCE
    ]
    if wrong:
        raise StudioError(
            f"exported programs differ from the run: {', '.join(wrong)}; at most {TOLERANCE:g} is "
            "allowed"
        )


def _name_batch_axis(path: Path) -> None:
    """Names the first axis of all inputs and outputs of an ONNX file, which has a number so far."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    former = {value.type.tensor_type.shape.dim[0].dim_param for value in graph.input} - {""}
    for value in values:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in former:
                axis.dim_param = BATCH_AXIS
    for value in graph.output:
        value.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
    onnx.save(model, path)


def _onnx_runner(
    paths: dict[str, Path],
) -> tuple[Callable[[str, Sequence[np.ndarray]], Outputs], str]:
    """Returns a function that runs the files, and the name of the runtime.

    The runtime is onnxruntime if it is installed, and otherwise the reference implementation of
    onnx.
    """
    sessions: dict[str, Any] = {}
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime  # pyright: ignore[reportMissingImports] - optional

        sessions = {
            n: onnxruntime.InferenceSession(str(p), providers=["CPUExecutionProvider"])
            for n, p in paths.items()
        }
        runner = f"onnxruntime {onnxruntime.__version__}"
    else:
        import onnx
        from onnx.reference import ReferenceEvaluator

        sessions = {name: ReferenceEvaluator(str(path)) for name, path in paths.items()}
        runner = f"onnx.reference {onnx.__version__}"

    def run(name: str, inputs: Sequence[np.ndarray]) -> Outputs:
        return tuple(sessions[name].run(None, dict(zip(PROGRAMS[name][0], inputs, strict=True))))

    return run, runner


def _differences(
    method: Method, images: Tensor, run: Callable[[str, Sequence[np.ndarray]], Outputs]
) -> dict[str, float]:
    """Returns the largest difference of each program from the method.

    The programs are run on all images and on a single one.
    """
    differences = dict.fromkeys(PROGRAMS, 0.0)
    for some in (images, images[:1]):
        code = _code(method, some)
        with torch.no_grad():
            reconstruction = method.decode(code)
            healed = method.decode(Code(code.z, method.blank(len(some))))
        encoded = run("encode", [some.numpy()])
        decoded = run("decode", [part.numpy() for part in code])
        for name, outputs, expected in (
            ("encode", encoded, tuple(code)),
            ("decode", decoded, (reconstruction,)),
            ("heal", run("heal", [some.numpy()]), (healed,)),
        ):
            for own, theirs in zip(expected, outputs, strict=True):
                scale = max(1.0, own.abs().max().item())
                apart = (
                    float(np.abs(own.numpy() - theirs).max()) / scale
                    if own.shape == theirs.shape
                    else float("inf")
                )
                differences[name] = max(
                    differences[name], apart if apart == apart else float("inf")
                )
    return differences


def _code(method: Method, images: Tensor) -> Code:
    with torch.no_grad():
        return Code(*(part.float().contiguous() for part in method.encode(images)))
