r"""The script that a launcher starts.

One process:
    accelerate launch studio/train.py --cfg digits_dig.yaml
Several GPUs:
    accelerate launch --multi_gpu --num_processes 4 studio/train.py --cfg digits_dig.yaml
Two nodes, on each:
    accelerate launch --multi_gpu --num_machines 2 --machine_rank R --num_processes 8 \
        --main_process_ip HOST --main_process_port 29500 studio/train.py --cfg digits_dig.yaml
Two processes on a CPU:
    torchrun --nproc_per_node 2 -- studio/train.py --cfg digits_dig.yaml

Without `--` torchrun takes `--run` as one of its own options. Batch size, precision and threads
come from the config, which overrides the launcher.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the folder of a launched script first on its path. The folder of the project takes
    # its place, because `nets`, `losses` and `studio` must be imported from this checkout even if
    # another one is installed.
    here = Path(__file__).resolve().parent
    if sys.path and Path(sys.path[0]).resolve() == here:
        sys.path[0] = str(here.parent)

    from studio.cli import train_main

    train_main()
