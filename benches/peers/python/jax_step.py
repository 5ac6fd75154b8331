"""The step in JAX, jitted as one function; images in the layout NCHW, or NHWC as the variant says."""

import jax
import jax.numpy as jnp
import numpy as np


def start(threads):  # as many as the process may use
    return f"JAX {jax.__version__}"


def build(net, variant):
    last = variant == "channels-last"
    layout = ("NHWC", "HWIO", "NHWC") if last else ("NCHW", "OIHW", "NCHW")
    parameters, x = [], jnp.asarray(net.x.transpose(0, 2, 3, 1) if last and net.x.ndim == 4 else net.x)
    channels = None  # of the images that the first dense layer reads
    for (kind, *sizes), given in zip(net.layers, net.parameters):
        if kind == "conv":
            weight, bias = given
            channels = len(bias)
            parameters.append((weight.transpose(2, 3, 1, 0) if last else weight, bias if last else bias[:, None, None]))
        elif kind == "dense":
            weight, bias = given
            if last and channels:  # its inputs come in the order rows, columns, channels
                weight = weight.reshape(len(bias), channels, -1).transpose(0, 2, 1).reshape(len(bias), -1)
            channels = None
            parameters.append((np.ascontiguousarray(weight.T), bias))
        else:
            parameters.append(())
    parameters = jax.tree.map(jnp.asarray, parameters)
    labels = jnp.asarray(net.labels)

    def loss_of(parameters, x, labels):
        for (kind, *sizes), own in zip(net.layers, parameters):
            if kind == "conv":
                pad = ((sizes[3], sizes[3]),) * 2
                x = jax.lax.conv_general_dilated(x, own[0], (1, 1), pad, dimension_numbers=layout) + own[1]
            elif kind == "pool":
                window = (1, sizes[0], sizes[0], 1) if last else (1, 1, sizes[0], sizes[0])
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
            elif kind == "relu":
                x = jax.nn.relu(x)
            elif kind == "flatten":
                x = x.reshape(x.shape[0], -1)
            else:
                x = x @ own[0] + own[1]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), labels[:, None], 1))

    def update(parameters, x, labels):
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, labels)
        return jax.tree.map(lambda p, g: p - net.rate * g, parameters, gradients), loss

    update = jax.jit(update, donate_argnums=0)

    def step():
        nonlocal parameters
        parameters, loss = update(parameters, x, labels)
        return loss.block_until_ready()

    return step
