"""Images: where they are found, how they are read, cropped, shown and written."""
