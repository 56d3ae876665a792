"""The recipes, one screen each: which task after which. They live in the checkout and in the image, not in the wheel."""
