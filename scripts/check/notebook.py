"""Runs a notebook to its end with nbclient: `python notebook.py FILE FOLDER`, the cells working in FOLDER. Prints what its cells have printed, and the
types of what they show; exit code 1 where a cell fails."""

import sys

import nbformat
from nbclient import NotebookClient

path, folder = sys.argv[1:]
notebook = nbformat.read(path, as_version=4)
NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        if output.output_type == "stream" and output.name == "stdout":
            print(output.text, end="")
        elif output.output_type in ("display_data", "execute_result"):
            print("shown:", ", ".join(sorted(output.data)))
        elif output.output_type == "error":
            sys.exit(f"{output.ename}: {output.evalue}")
