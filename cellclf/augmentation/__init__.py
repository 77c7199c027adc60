"""What a picture might have looked like: fused, repeatable augmentation."""
