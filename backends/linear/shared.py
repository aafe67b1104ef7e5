"""The causal sum as a custom operator; once in every file of kernels."""

from hashlib import sha256

CAUSAL = '''\
CHUNK = 128  # queries that multiply their own keys; what came before is summed


def causal_sums(q, k, v, rate):
    """The sum over j <= i of (q_i . k_j) exp(rate * (i - j)) v_j, chunk by chunk.

    q, k: [b, h, n, d]; v: [b, h, n, e]; rate: [b or 1, h or 1, 1, 1].
    """
    out = v.new_empty(v.shape)
    total = v.new_zeros(*v.shape[:2], q.shape[3], v.shape[3])
    for rows, i, near in chunks_of(q, rate):
        keys, values = k[:, :, rows], v[:, :, rows]
        out[:, :, rows] = (q[:, :, rows] @ keys.mT * near) @ values
        out[:, :, rows] += (q[:, :, rows] * (rate * (i + 1)).exp()) @ total
        keys = keys * (rate * (len(i) - 1 - i)).exp()
        total = total * (rate * len(i)).exp() + keys.mT @ values
    return out


def causal_moments(q, k, v, rate):
    """The same, each term times i - j: the derivative of causal_sums by `rate`."""
    out = v.new_empty(v.shape)
    total = v.new_zeros(*v.shape[:2], q.shape[3], v.shape[3])
    lagging = total.clone()
    for rows, i, near in chunks_of(q, rate):
        keys, values = k[:, :, rows], v[:, :, rows]
        out[:, :, rows] = (q[:, :, rows] @ keys.mT * near * (i - i.mT)) @ values
        queries = q[:, :, rows] * (rate * (i + 1)).exp()
        out[:, :, rows] += (queries * (i + 1)) @ total + queries @ lagging
        keys = keys * (rate * (len(i) - 1 - i)).exp()
        last = (keys * (len(i) - 1 - i)).mT @ values
        lagging = (lagging + len(i) * total) * (rate * len(i)).exp() + last
        total = total * (rate * len(i)).exp() + keys.mT @ values
    return out


def chunks_of(q, rate):
    """Runs of queries, their numbers in the run [r, 1], and their decay [.., r, r]."""
    i = torch.arange(CHUNK, device=q.device)[:, None]
    near = (rate * (i - i.mT).clamp(min=0)).exp().tril()
    for start in range(0, q.shape[2], CHUNK):
        length = min(CHUNK, q.shape[2] - start)
        rows = slice(start, start + length)
        yield rows, i[:length], near[..., :length, :length]


def keep_operands(ctx, inputs, output):
    """Keep what the backward pass needs."""
    ctx.save_for_backward(*inputs)


def pull_sums(ctx, grad):
    """Gradients of all arguments; those of keys and values sum over later queries."""
    q, k, v, rate = ctx.saved_tensors
    grad_rate = None
    if ctx.needs_input_grad[3]:
        moments = torch.ops.attnc_linear.causal_moments(q, k, v, rate)
        grad_rate = (grad * moments).sum_to_size(rate.shape)
    later_q, later_k, later_v, later = (x.flip(2) for x in (q, k, v, grad))
    sums = torch.ops.attnc_linear.causal_sums
    return (
        sums(grad, v, k, rate),
        sums(later_v, later, later_q, rate).flip(2),
        sums(later_k, later_q, later, rate).flip(2),
        grad_rate,
    )


SUMS = "(Tensor q, Tensor k, Tensor v, Tensor rate) -> Tensor"
causal_sums_op = torch.library.custom_op(
    "attnc_linear::causal_sums", causal_sums, mutates_args=(), schema=SUMS
)  # fmt: skip
causal_moments_op = torch.library.custom_op(
    "attnc_linear::causal_moments", causal_moments, mutates_args=(), schema=SUMS
)  # fmt: skip
causal_sums_op.register_fake(lambda q, k, v, rate: v.new_empty(v.shape))
causal_moments_op.register_fake(lambda q, k, v, rate: v.new_empty(v.shape))
causal_sums_op.register_autograd(pull_sums, setup_context=keep_operands)
'''

NAMESPACE = f"attnc_{sha256(CAUSAL.encode()).hexdigest()[:8]}"
CAUSAL = CAUSAL.replace("attnc_linear", NAMESPACE)
