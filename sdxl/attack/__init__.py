"""Stage 4, attack: does a model give back the images that it was trained on?"""
