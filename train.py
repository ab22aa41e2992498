"""Train a network: python train.py experiment=NAME [key=value ...]; the same command resumes."""

from rfsep.app.scripts import script

if __name__ == "__main__":
    script("train")
