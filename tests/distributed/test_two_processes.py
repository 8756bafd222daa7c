"""Two processes on a CPU, started by torchrun: one run, mean gradients, a common stop."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from support.experiments import tiny
from support.waiting import images_logged, wait_until

from studio.config import dump
from studio.runs import checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
# Without a GPU nothing says that it is the CPU that counts: README's line does not either.
CPU = {"ACCELERATE_USE_CPU": "true"} if torch.accelerator.is_available() else {}
ENVIRONMENT = os.environ | CPU | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

SCRIPT = """
import atexit
import sys
from contextlib import suppress
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
import torch.distributed as dist
from support.experiments import tiny
from studio.distributed.processes import Processes
from studio.errors import StudioError
from studio.training.session import TrainingSession, train


def talking():
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended
            names.append((task / "comm").read_text())
    return sum("gloo" in name for name in names)

# Registered first and called last. Threads that outlive the interpreter can abort the process.
atexit.register(lambda: print("threads that talk to others: " + str(talking()) + "\\n", end=""))

checked = []
original = Processes.average

def average(self, parameters):
    expected = []
    for parameter in parameters:
        both = [torch.empty(parameter.shape) for _ in range(2)]
        dist.all_gather(both, parameter.grad.contiguous())
        assert not torch.equal(*both), "both processes saw the same images"
        expected.append((both[0] + both[1]) / 2)
    original(self, parameters)
    for parameter, mean in zip(parameters, expected):
        torch.testing.assert_close(parameter.grad, mean)
        assert parameter.grad.stride() == parameter.stride(), "gradient in another memory order"
    checked.append(len(parameters))

Processes.average = average
stop = TrainingSession.record

def after(self, terms):
    if self.engine.iteration == 2 and self.engine.accelerator.process_index == 1:
        self.stop("SIGTERM")  # as if a signal had reached only the second process
    return stop(self, terms)

TrainingSession.record = after
done = train(tiny(images=160))
assert done.engine.accelerator.num_processes == 2
assert done.engine.iteration == 2 and done.stopped, (done.engine.iteration, done.stopped)
assert len(checked) == 4
for value in done.engine.method.parameters():
    both = [torch.empty(value.shape) for _ in range(2)]
    dist.all_gather(both, value.detach().contiguous())
    assert torch.equal(*both)
dist.barrier()
assert talking()
try:
    train(tiny(images=160), done.folder)
except StudioError as error:
    assert "already contains a run" in str(error)
else:
    raise AssertionError("the run was overwritten")
print("fine " + str(done.folder) + "\\n", end="")
"""


def test_train_trains_one_run_in_two_processes(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent.parent)))
    done = subprocess.run(
        [*TORCHRUN, str(script)], capture_output=True, text=True, timeout=300, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("fine runs/tiny-1") == 2
    assert done.stdout.count("threads that talk to others: 0") == 2
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["tiny-1"]
    assert [p.name for p in (tmp_path / "runs" / "tiny-1" / "checkpoints").iterdir()] == [
        "00000032"
    ]


def test_train_saves_and_ends_both_processes_on_a_signal_to_torchrun(tmp_path: Path) -> None:
    Path("tiny.yaml").write_text(dump(tiny("vae", images=16_000_000, log_every=16)))
    # Without `--` torchrun takes --run for one of its own options.
    command = [
        *TORCHRUN,
        "--",
        str(ROOT / "studio" / "train.py"),
        "--cfg",
        "tiny.yaml",
        "--run",
        "run",
    ]
    with Path("errors.txt").open("w") as errors:
        launcher = subprocess.Popen(command, env=ENVIRONMENT, stderr=errors)
    try:
        wait_until(lambda: images_logged() >= 48, 300)
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(120) != 0
    finally:
        launcher.kill()
    assert checkpoint.newest(Path("run")).images_seen == images_logged()
    assert not Path("run/.lock").exists()
    assert "saved, --resume continues" in Path("errors.txt").read_text()
    wait_until(lambda: not [child for child in children if Path(f"/proc/{child}").exists()], 10)
