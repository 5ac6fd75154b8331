"""The step in JAX, jitted as one function; images in the layout NCHW, or NHWC as the variant says."""

import jax
import jax.numpy as jnp
import numpy as np


def start(threads):  # as many as the process may use
    return f"JAX {jax.__version__}"


def build(net, variant):
    last = variant == "channels-last"
    layout = ("NHWC", "HWIO", "NHWC") if last else ("NCHW", "OIHW", "NCHW")
    places = (1, 2) if last else (2, 3)  # the axes of rows and columns
    parameters, running, x = [], [], jnp.asarray(net.x.transpose(0, 2, 3, 1) if last and net.x.ndim == 4 else net.x)
    channels = None  # of the images that the first dense layer reads
    for (kind, *sizes), given in zip(net.layers, net.parameters):
        of_channels = lambda numbers: numbers[None, None, :] if last else numbers[:, None, None]
        if kind == "conv":
            weight, bias = given
            channels = len(bias)
            parameters.append((weight.transpose(2, 3, 1, 0) if last else weight, of_channels(bias)))
        elif kind == "batchnorm":
            parameters.append(tuple(map(of_channels, given)))
            running.append((of_channels(np.zeros_like(given[0])), of_channels(np.ones_like(given[0]))))
        elif kind == "dense":
            weight, bias = given
            if last and channels:  # its inputs come in the order rows, columns, channels
                weight = weight.reshape(len(bias), channels, -1).transpose(0, 2, 1).reshape(len(bias), -1)
            channels = None
            parameters.append((np.ascontiguousarray(weight.T), bias))
        else:
            parameters.append(())
    parameters, running = jax.tree.map(jnp.asarray, (parameters, running))
    labels = jnp.asarray(net.labels)

    def loss_of(parameters, x, labels):
        measured, entered = [], []
        for (kind, *sizes), own in zip(net.layers, parameters):
            if kind == "conv":
                pad, stride = ((sizes[3], sizes[3]),) * 2, (*sizes, 1)[4]
                x = jax.lax.conv_general_dilated(x, own[0], (stride, stride), pad, dimension_numbers=layout) + own[1]
            elif kind == "pool":
                window = (1, sizes[0], sizes[0], 1) if last else (1, 1, sizes[0], sizes[0])
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
            elif kind == "relu":
                x = jax.nn.relu(x)
            elif kind == "batchnorm":
                mean, variance = (of(x, (0, *places), keepdims=True)[0] for of in (jnp.mean, jnp.var))
                n = x.size // sizes[0]
                measured.append((mean, variance * n / (n - 1)))
                x = (x - mean) * jax.lax.rsqrt(variance + 1e-5) * own[0] + own[1]
            elif kind == "globalavgpool":
                x = jnp.mean(x, places, keepdims=True)
            elif kind == "residual":
                entered.append([x])
            elif kind == "shortcut":
                entered[-1].append(x)
                x = entered[-1][0]
            elif kind == "end":
                # Without a shortcut what came in, with one what the main branch gave.
                x = x + entered.pop()[-1]
            elif kind == "flatten":
                x = x.reshape(x.shape[0], -1)
            else:
                x = x @ own[0] + own[1]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), labels[:, None], 1)), measured

    def update(parameters, running, x, labels):
        (loss, measured), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters, x, labels)
        running = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, running, measured)
        return jax.tree.map(lambda p, g: p - net.rate * g, parameters, gradients), running, loss

    update = jax.jit(update, donate_argnums=(0, 1))

    def step():
        nonlocal parameters, running
        parameters, running, loss = update(parameters, running, x, labels)
        return loss.block_until_ready()

    return step
