"""Separate, score and compare; conf/evaluate.yaml shows the forms of the command."""

from rfsep.app.scripts import script

if __name__ == "__main__":
    script("evaluate")
