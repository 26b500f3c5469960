"""Measurements behind the report: one module per notebook, plus a few shared ones."""

import os

# TensorFlow uses oneDNN's convolutions by itself only on the newest processors; elsewhere they are
# 1.5 to 4 times as fast as its own. Read when TensorFlow is imported, so it stands here.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
