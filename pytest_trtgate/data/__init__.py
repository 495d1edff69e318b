"""The user's dataset: its splits, images and labels."""

from __future__ import annotations

from .dataset import IMAGE_SUFFIXES, Dataset, class_folders, is_image, label_of, load_dataset, reading, shared_contents
from .labels import RULES_VERSION, SOUND, KeypointShape, keypoints_of, label_state
from .ultralytics_files import readable_names
