"""Compares what an MLflow server has of a run with the run's own events, number by number.

    pip install mlflow && mlflow server --port 5000 &
    MLFLOW_TRACKING_URI=http://127.0.0.1:5000 npx gradprompt tune --config CONFIG --track mlflow --out RUN
    python scripts/check/mlflow_server.py RUN
"""

import json
import os
import sys

from mlflow import MlflowClient

run = sys.argv[1]
client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000"))
with open(os.path.join(run, "mlflow.json"), encoding="utf-8") as file:
    known = json.load(file)["run"]
with open(os.path.join(run, "events.jsonl"), encoding="utf-8") as file:
    events = [json.loads(line) for line in file]


def history(name):
    return {point.step: point.value for point in client.get_metric_history(known, name)}


wanted = {"train/loss": {e["step"]: e["loss"] for e in events if e["event"] == "step"}}
for event in events:
    if event["event"] == "dev":
        for name, metric in event["metrics"].items():
            wanted.setdefault(f"dev/{name}", {})[event["step"]] = metric["value"]
failed = 0
for name, points in wanted.items():
    same = history(name) == points
    failed += not same
    print(f"{'equal' if same else 'DIFFERS'}  {name}: {len(points)} points")
status = client.get_run(known).info.status
print(f"status: {status}")
sys.exit(1 if failed or status != "FINISHED" else 0)
