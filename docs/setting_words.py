"""What each setting means, for the page that ``generated.py`` makes. A name that ends in ``*`` stands for many."""

from __future__ import annotations

WORDS: dict[str, str] = {
    "models": "Checkpoints to gate, of any task. An entry may be a table with settings of its own: see below.",
    "engines": "Files to gate in place of engines that would be built, of a run of one model: as `models[].engines`.",
    "data": (
        "Data YAML or folder, as Ultralytics reads it: see [Name a dataset](../how-to/datasets.md). "
        "Nothing is ever downloaded. Needs a split to evaluate on and, for INT8, one to calibrate on."
    ),
    "split": "The split that accuracy and latency are measured on.",
    "precisions": "The precisions to build, each an engine of its own.",
    "imgsz": "Image size in pixels. Engines have this one static shape.",
    "batch": "Batch size. Engines have this one static batch.",
    "device": (
        "A GPU by its number among those that `CUDA_VISIBLE_DEVICES` leaves, in the order of `nvidia-smi`, or `cpu`."
    ),
    "backend": "`auto` takes TensorRT where it and a GPU are present, else ONNX Runtime on the CPU.",
    "machines": (
        "The kinds of machines in the fleet: each cell is gated on each. Unset: the only one that the cluster has."
    ),
    "threads": (
        "Threads of every arm, the `.pt` included. Unset: the usable cores, at most 8; a container's limit of "
        "processor time counts as its cores."
    ),
    "cache_dir": (
        "Folder of the engine cache: new, empty or one that it has [marked](../explanation/engine-keys.md#its-folder). "
        "Unset: `pytest-trtgate` in the user's cache folder."
    ),
    "baselines": (
        "`check` compares with the baselines. `add` also writes missing ones. `update` also replaces those that differ."
    ),
    "baseline_dir": (
        "Folder of the baselines, to be committed: per cell one JSON file of its accuracy, and one per machine."
    ),
    "report": "The HTML report. `run.json` and a CSV file are written beside it.",
    "promote": (
        "Folder for a release pack of each cell, in a folder of its key, written only if the whole run is green: see "
        "[Promote what passed](../how-to/promote.md)."
    ),
    "videos": (
        "Clips that each model's `.pt` and engines are timed on, end to end: see "
        "[Time a model on a video](../how-to/videos.md)."
    ),
    "pictures": "How many images per cell the report shows on which engine and `.pt` disagree most.",
    "fresh": "Measure accuracies again, even of bytes that were measured before, and trust no stored digest of a file.",
    "profile": (
        "Time each layer of the engines too, in a job apart from all timing: see "
        "[Find the slow layer](../how-to/profiles.md)."
    ),
    "explain_failed": (
        "At the end of the run, explain each cell whose accuracy failed or looks broken: see "
        "[My INT8 lost accuracy](../how-to/int8.md#find-out-why)."
    ),
    "keep_runs": (
        "How many runs keep their logs and samples in `reports/trtgate-runs/`. A run is removed once so many newer "
        "runs have at least as many verdicts, so runs of a few tests do not push out full ones. Git ignores the "
        "folder, by a `.gitignore` in it."
    ),
    "weights": (
        "`trusted`: a checkpoint is loaded as Ultralytics loads it, which runs code that is in it. `safe`: it is "
        "loaded with torch's `weights_only`, and refused where it names classes of others than torch and Ultralytics. "
        "Needs torch 2.6 or newer."
    ),
    "strict": (
        "Fail the run where a verdict failed but no test did, such as with `xfail` or where a test catches the "
        "failure, and where a test that passes takes `trtgate` and asks it nothing."
    ),
    "inconclusive": "Whether the verdict INCONCLUSIVE fails the run.",
    "missing_baseline": (
        "Whether an accuracy or a latency without a usable baseline fails the run. `auto`: `fail` where the "
        "environment variable `CI` is set, else `record`."
    ),
    "models[].path": (
        "The checkpoint. An entry of `models` that is only a path means the same. In its place, `reference` names an "
        "`.onnx` file."
    ),
    "models[].engines": (
        "Files to gate in place of engines that would be built: see "
        "[Gate the file that ships](../how-to/ship-the-file.md)."
    ),
    "models[].predictions": "What a runtime that is elsewhere has detected, in the form of COCO's results.",
    "models[].times": "How long its inferences took; each file counts as one launch.",
    "models[].data": "The dataset of this model.",
    "models[].imgsz": "The image size of this model.",
    "models[].name": "What reports and baselines call the model. By default its file name without the ending.",
    "models[].accuracy": "Tolerances of this model, as a table like `accuracy`.",
    "models[].quantization": "How INT8 of this model is made, as a table like `quantization`.",
    "accuracy.mode": (
        "`contract`: the drop on these images decides. `population`: its confidence limits decide: see "
        "[Accuracy](../explanation/verdict.md#accuracy)."
    ),
    "accuracy.confirm_below": (
        "With `contract` and fewer images than this, a drop over its tolerance fails only if its one-sided 95 % lower "
        "limit is over 0; else it is INCONCLUSIVE."
    ),
    "accuracy.builds": (
        "How many builds of each TensorRT engine are evaluated. A drop over its tolerance fails only if all have it: "
        "see [Accuracy](../explanation/verdict.md#accuracy). Builds of ONNX Runtime are all the same: there is one."
    ),
    "accuracy.*": "Largest allowed drop of this metric from the `.pt`, and since the baseline.",
    "latency.context": "What is judged: the engine alone, or image in to result out. Both are measured.",
    "latency.launches": (
        "How many launches an engine gets that is compared, or has no baseline. An engine that is its baseline's, byte "
        "for byte, gets one. A replayed baseline is looked at after 3, 4, 5, 8 and 12."
    ),
    "latency.max_launches": "How many launches a run gets at most where fewer do not decide. With fewer than 5, "
    "an engine that is slower than a replayed baseline is INCONCLUSIVE at most, and does not fail.",
    "latency.samples": (
        "Timed inferences per launch, arm and context, at most: fewer where they tell enough. The context that is not "
        "judged, and arms that are only shown, get a quarter of them, and the former in the first launch alone."
    ),
    "latency.max_seconds": (
        "Time limit for these samples; slow arms get fewer. What is only shown gets a quarter of it."
    ),
    "latency.block": "Timed inferences of one arm before it is the next arm's turn.",
    "latency.warmup_min": "Untimed inferences at least, before those that count.",
    "latency.warmup_max_seconds": "The warm-up goes on until times are stable, or for this long.",
    "latency.images": "Images of the split that inference is timed on, evenly spread.",
    "latency.seed": "Seed of the order of the arms.",
    "latency.p*.regression": "The smallest slow-down since the baseline that is worth failing for.",
    "latency.p*.budget_ms": "The largest value of this percentile.",
    "latency.speedup.over": "The arm to compare with, at p50. A rule for all precisions leaves this one out.",
    "latency.speedup.at_least": "How many times as fast the engine must be.",
    "latency.energy_mj": "Largest energy per inference on a GPU.",
    "latency.memory_mb": "Largest memory on a GPU.",
    "latency.machine": (
        "Limits on one kind of machine, such as `[tool.trtgate.latency.machine.nvidia-l4]` and, for one precision of "
        "it, `[tool.trtgate.latency.machine.nvidia-l4.int8]`. They win over all others; what they leave open is as "
        "elsewhere. The name is that in `machines`, or of the folder of its baselines, with or without the backend."
    ),
    "calibration.split": "The split that INT8 is calibrated on.",
    "calibration.fraction": "The share of that split. Ultralytics takes the first images by name.",
    "quantization.int8.keep": (
        "Layers that stay out of INT8: FP32 with ONNX Runtime, FP16 with TensorRT. A name such as `head.keypoints` "
        "stands for all layers in that block; `*` stands for any text. A pattern may name ONNX nodes instead. See "
        "[My INT8 lost accuracy](../how-to/int8.md)."
    ),
    "quantization.int8.calibrator": (
        "How the range of each tensor is found. `exporter`: as Ultralytics does, today `minmax`. `percentile-99.99` "
        "leaves the outermost values out of range; only ONNX Runtime has percentiles."
    ),
    "quantization.int8.per_channel": "A scale for each channel of the weights. TensorRT does so by itself.",
    "quantization.int8.reduce_range": (
        "Weights of 7 bits, for processors without VNNI, on which ONNX Runtime's 8-bit products saturate. TensorRT "
        "ignores it."
    ),
    "explain.minutes": "How long an explanation may try what each block costs in INT8.",
    "validation.conf": "Lowest confidence that counts, the same for every arm.",
    "validation.iou": "Overlap from which non-maximum suppression removes a box, the same for every arm.",
    "validation.max_det": "Most detections per image, the same for every arm.",
    "findings.left-out-share": "From which share of a split on `images-left-out` fails instead of warning.",
    "findings.*": "[What it looks at](findings.md#{name}).",
    "fleet.address": "The Ray cluster on which jobs are done: see [Gate on other machines](../how-to/fleet.md).",
    "fleet.nodes": "On how many machines of a kind models are measured at once, at most. Unset: on all that are free.",
    "fleet.wait_s": "For how long a run waits until a machine is free.",
    "fleet.shards": "Among how many free machines of the kind an evaluation is divided, at most.",
    "deployment.engine": (
        "The file that is deployed now. What Ultralytics wrote into it is read; it is run with `compare` only."
    ),
    "deployment.compare": (
        "Evaluate and time the deployed engine beside the others: see "
        "[Deployed against candidate](../how-to/ship-the-file.md#deployed-against-candidate)."
    ),
    "deployment.imgsz": "The image size that is deployed.",
    "deployment.batch": "The batch size that is deployed.",
    "timeouts.build_s": "For one build.",
    "timeouts.accuracy_s": "For an evaluation, for each arm in it.",
    "timeouts.launch_s": "For one launch; also for layer profiles, pictures, and the first look at each clip.",
    "timeouts.video_s": "For one clip.",
    "export.nms": (
        "Unset: suppression follows the engine. `false`: a head that needs none, where the model has one. `true`: "
        "suppression inside the engine. See [Two heads](../how-to/tasks.md#two-heads)."
    ),
    "export.opset": "ONNX opset, passed to the exporter. Unset: the exporter's own.",
    "export.simplify": "Passed to the exporter.",
    "export.workspace": "TensorRT's workspace. Unset: TensorRT's own. ONNX Runtime ignores it.",
    "export.optimization_level": "TensorRT's builder level. Unset: TensorRT's own. ONNX Runtime ignores it.",
    "inputs.max_megapixels": (
        "Largest image that is decoded, by its header. Larger ones are left out, and said. An image takes 3 MB of "
        "memory a megapixel while it is decoded, in as many threads as there are cores."
    ),
    "inputs.max_weights_gb": (
        "To how much a checkpoint may unpack. Unset: ten times the size of its file, and 0.1 at least, since torch "
        "does not compress."
    ),
    "engine.max_size_mb": "Largest file. Judged with the latency.",
    "engine.max_device_memory_mb": "Largest memory for activations on the GPU. Judged with the latency.",
}
