"""How far the windows of a pool reach, for formats that have no pools whose last window goes over the edge."""

from squeezenet.graph import AvgPool, MaxPool, Shape, Sides, sides


def reached(op: MaxPool | AvgPool, shape: Shape) -> Sides:
    """Padding of a pool with which its windows fit exactly: no `ceil` is needed then."""
    top, left = sides(op.padding)[:2]
    _, *out = op.shape(*shape)
    after = []
    for n, count, k, s, d, before in zip(shape[1:], out, op.kernel, op.stride, op.dilation, (top, left), strict=True):
        after.append(max(0, (count - 1) * s + (k - 1) * d + 1 - n - before))
    return top, left, after[0], after[1]
