"""What a run's records alone can prove or break; imports neither TensorFlow nor OpenCV."""
