"""What happens to a frame, in order: source, slot, preprocess, detect, suppress, track, sink."""
