"""The launch target.

One process:        accelerate launch studio/train.py --cfg digits_dig.yaml
Several GPUs:       accelerate launch --multi_gpu --num_processes 4 studio/train.py --cfg digits_dig.yaml
Two nodes, on each: accelerate launch --multi_gpu --num_machines 2 --machine_rank R --num_processes 8 \
                        --main_process_ip HOST --main_process_port 29500 studio/train.py --cfg digits_dig.yaml
Two on a CPU:       torchrun --nproc_per_node 2 -- studio/train.py --cfg digits_dig.yaml

Without `--` torchrun takes `--run` for an option of its own. Batch, precision and threads come from the config, which beats
the launcher.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A launched script has its own folder first on the path, not the project's: replaced, so that `nets` and `losses`
    # are found, and found beside this file even where another checkout is installed.
    here = Path(__file__).resolve().parent
    if sys.path and Path(sys.path[0]).resolve() == here:
        sys.path[0] = str(here.parent)

    from studio.cli import train_main

    train_main()
