"""What happens to a frame, in the order in which it happens: source, slot, preprocess, detect, suppress, track, sink."""
