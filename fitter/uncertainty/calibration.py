"""x"""


def calibrated(model, left_out, note):
    return model
