#!/usr/bin/env bash
# pytorch-lightning 2.6.6: a checkpoint written at a validation lacks that validation's step of ReduceLROnPlateau.
#
# Versions: pytorch-lightning 2.6.6, torch 2.13.0, Python 3.11.
# Behaviour: Lightning saves its checkpoint in on_validation_end and steps a plateau schedule afterwards. A run that is stopped
#   there and resumed from last.ckpt goes on one fall of the learning rate behind the run that was left alone, without a word.
# Guess beforehand: state_dict of the scheduler is in the checkpoint, so a resumed run has the rates of an uninterrupted one.
# Why it matters: the RF Challenge's WaveNet baseline lowers its rate by ReduceLROnPlateau at each validation, over days. A queue
#   that ends jobs at a time limit then trains another network than one long job does, and no log says so.
# Output seen:
#   left alone        1 1 1 1 0.1 0.1 0.01 0.01
#   stopped, resumed  1 1 1 1 1 1 0.1 0.1
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 pytorch-lightning==2.6.6 "numpy==2.4.6"
cat > "$place/show.py" <<'PYTHON'
import logging
import sys
import warnings

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel("ERROR")
place = sys.argv[1]


class Model(pl.LightningModule):
    """One weight, whose validation never gets better: the rate falls at each validation after the first."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch, index):
        self.log("error", 1.0)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 1.0)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        schedule = {"scheduler": plateau, "monitor": "error", "interval": "step", "frequency": 2, "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class Rates(pl.Callback):
    """Notes the learning rate of each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, module, batch, index):
        self.seen.append(f"{trainer.optimizers[0].param_groups[0]['lr']:g}")


data = DataLoader(TensorDataset(torch.ones(64, 1)), batch_size=1)


def fit(steps, folder, resume=None):
    rates = Rates()
    trainer = pl.Trainer(
        max_steps=steps, val_check_interval=2, check_val_every_n_epoch=None, num_sanity_val_steps=0, accelerator="cpu",
        logger=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        callbacks=[rates, pl.callbacks.ModelCheckpoint(folder, save_last=True, save_top_k=-1)],
    )
    trainer.fit(Model(), data, data, ckpt_path=resume, weights_only=False if resume else None)
    return rates.seen


whole = fit(8, f"{place}/whole")
stopped = fit(4, f"{place}/stopped")
stopped += fit(8, f"{place}/stopped", f"{place}/stopped/last.ckpt")
print("left alone       ", *whole)
print("stopped, resumed ", *stopped)
sys.exit(0 if (whole, stopped) == ("1 1 1 1 0.1 0.1 0.01 0.01".split(), "1 1 1 1 1 1 0.1 0.1".split()) else 1)
PYTHON
"$place/venv/bin/python" "$place/show.py" "$place"
