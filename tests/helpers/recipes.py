"""A recipe that ends within seconds."""

RECIPE = {
    "seed": 1,
    "dedup": {"augmented": "off"},
    "split": {"val": 0.25},
    "trainer": {
        "batch_size": 8,
        "optimizer": "adamw",
        "backbone": {"name": "residual", "params": {"filters": [16, 16, 16]}},
        "head": {"units": [], "dropout": 0.0},
        "stages": [{"epochs": 1, "learning_rate": 3e-3, "unfreeze": "all", "train_batch_norm": True}],
    },
}
