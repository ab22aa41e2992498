"""Make a test set: python data/prepare.py testset soi=NAME interference=NAME out=DIR [key=value ...]."""

from rfsep.app.scripts import script

if __name__ == "__main__":
    script("prepare")
