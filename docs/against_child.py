"""One build at work for docs/against.py, which puts the build on PYTHONPATH: reads jobs, a JSON line each, and answers.

It runs in any commit: newer ones are asked through rfsep's public API, older ones by what their conf/ instantiates.
"""

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

import rfsep

CONF = Path(rfsep.__file__).resolve().parents[1] / "conf"
made: dict[str, Any] = {}


def option(group: str, name: str) -> Any:
    """Returns an option of this build's conf/."""
    return OmegaConf.load(CONF / group / f"{name}.yaml")


def separator(name: str, soi: str, examples: torch.Tensor) -> Any:
    """Returns a separator of this build, as evaluate.py makes it."""
    if hasattr(rfsep, "load_separator"):
        return rfsep.load_separator(name, rfsep.load_soi(soi), examples)
    return instantiate(option("separator", name).method, modem=instantiate(option("soi", soi).modem), examples=examples)


def identified(examples: torch.Tensor) -> Any:
    """Identifies an interference, as this build does."""
    if hasattr(rfsep, "identify"):
        return rfsep.identify(examples)
    return import_module("rfsep.signals.identify").identify(examples)


def work(job: dict[str, Any]) -> Any:
    """Does a job's part that is measured."""
    what, name = job["do"], job.get("name", "")
    if what == "set up":
        made["separator"] = separator(name, job["soi"], torch.from_numpy(np.load(job["examples"])))
    elif what == "identify":
        identified(torch.from_numpy(np.load(job["examples"])))
    elif what == "open source":
        made["source"] = instantiate(option("interference", name).source)
    elif what == "draw":
        made["source"].sample(job["batch"], job["samples"], torch.Generator().manual_seed(0))
    elif what == "separate":
        return made["separator"].separate(torch.from_numpy(np.load(job["mixtures"])))
    return None


def main() -> None:
    """Answers each job with the seconds that it took."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Words that rfsep prints must not be taken for answers.
    for line in sys.stdin:
        job = json.loads(line)
        torch.set_num_threads(job.get("threads", 1))
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            result = work(job)
        except Exception as error:
            answers.write(json.dumps({"failed": f"{type(error).__name__}: {error}"}) + "\n")
        else:
            seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
            if result is not None and "out" in job:
                np.savez(job["out"], soi=result.soi.numpy(), bits=result.bits.numpy())
            answers.write(json.dumps(seconds) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
