"""EdgeFlowNAS's loss once more, pixel by pixel, for tiny cases: slow, and simple to check."""

import math

WEIGHTS = (0.125, 0.25, 0.5)


def pixel(image, row, column, size):
    """Return an (H, W) image at a pixel of another size, as TensorFlow 1 resizes."""
    y, x = row * image.shape[0] / size[0], column * image.shape[1] / size[1]
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
    upper = image[top, left] + (image[top, right] - image[top, left]) * (x - left)
    lower = image[bottom, left] + (image[bottom, right] - image[bottom, left]) * (x - left)
    return float(upper + (lower - upper) * (y - top))


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def pixel_loss(outputs, label, valid, weights=WEIGHTS, masked=True, uncertain=True, summed=True):
    """Return the mean loss over samples; the options leave parts of it out."""
    total = 0.0
    for sample in range(len(label)):
        known = valid[sample] * 1.0 if masked else valid[sample] * 0.0 + 1.0
        before = None
        for weight, output in zip(weights, outputs, strict=True):
            here, size = output[sample].astype(float), output.shape[1:3]
            values, count = 0.0, 0
            for row in range(size[0]):
                for column in range(size[1]):
                    if before is not None and summed:
                        here[row, column] += [
                            pixel(before[..., c], row, column, size) for c in range(4)
                        ]
                    share = pixel(known, row, column, size)
                    if share > 0:
                        for c in range(2):
                            target = pixel(label[sample, ..., c] * known, row, column, size) / share
                            gap, spread = (
                                abs(here[row, column, c] - target),
                                here[row, column, c + 2],
                            )
                            sigma = max(softplus(spread + 1e-3), 1e-3)
                            values += gap + (gap / sigma + softplus(spread) if uncertain else 0.0)
                            count += 1
            total += weight * values / max(count, 1) / len(label)
            before = here
    return total
