"""Processes for tests. They are forked from this one, so that nothing is imported again."""

import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def fork(body: Callable[[], Any], output: Path) -> int:
    """Runs `body` in a child process that ends without the clean-up of this one.

    Args:
        body: the child calls it and ends.
        output: file for the return value of `body`. A traceback goes to the same name in .txt.

    Returns:
        The id of the child.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        torch.save(body(), output)
        code = 0
    except SystemExit as leave:
        code = int(leave.code or 0)
    except BaseException:
        output.with_suffix(".txt").write_text(traceback.format_exc())
        traceback.print_exc()
    finally:
        os._exit(code)


def wait_for_exit(children: list[int], seconds: float) -> list[int]:
    """Waits for children and returns their exit codes, or -n for a child that died of signal n.

    Raises:
        AssertionError: a child still runs after `seconds`. Those that do are killed.
    """
    end, codes = time.monotonic() + seconds, {}
    while len(codes) < len(children):
        for child in children:
            if child not in codes and (found := os.waitpid(child, os.WNOHANG)) != (0, 0):
                codes[child] = os.waitstatus_to_exitcode(found[1])
        if time.monotonic() > end:
            for child in set(children) - set(codes):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            running = f"{len(children) - len(codes)} of {len(children)} processes"
            raise AssertionError(f"{running} still ran after {seconds} s")
        time.sleep(0.01)
    return [codes[child] for child in children]


def start_processes(world: int, body: Callable[[], Any], folder: Path) -> list[int]:
    """Starts `world` processes, grouped on the CPU as under torchrun. Returns their ids."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run_as_rank(rank: int) -> Any:
        from accelerate.state import PartialState

        PartialState._reset_state()
        numbers = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": world,
            "LOCAL_WORLD_SIZE": world,
            "MASTER_PORT": port,
        }
        os.environ.update({name: str(value) for name, value in numbers.items()})
        os.environ.update(MASTER_ADDR="127.0.0.1", ACCELERATE_USE_CPU="true")
        return body()

    return [
        fork(lambda rank=rank: run_as_rank(rank), folder / f"{rank}.pt") for rank in range(world)
    ]


def run_together(
    world: int, body: Callable[[], Any], folder: Path, seconds: float = 300
) -> list[Any]:
    """Runs `body` in `world` processes and returns the result of each, by rank."""
    folder.mkdir(exist_ok=True)
    codes = wait_for_exit(start_processes(world, body, folder), seconds)
    faults = [file.read_text() for file in sorted(folder.glob("*.txt"))]
    assert not any(codes), (codes, "\n".join(faults))
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]
