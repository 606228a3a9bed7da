"""Features of images: extractors, a cache on disk, nearest neighbours."""
