"""The step in TensorFlow, compiled by XLA as one function; images in its own layout, NHWC."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import tensorflow as tf


def start(threads):
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return f"TensorFlow {tf.__version__}"


def build(net, variant):
    variables, channels = [], None  # channels of the images that the first dense layer reads
    for given in net.parameters:
        if given is None:
            variables.append(None)
            continue
        weight, bias = given
        if weight.ndim == 4:
            channels, weight = len(bias), weight.transpose(2, 3, 1, 0)
        elif weight.ndim == 2:
            if channels:  # its inputs come in the order rows, columns, channels
                weight = weight.reshape(len(bias), channels, -1).transpose(0, 2, 1).reshape(len(bias), -1)
            channels, weight = None, weight.T
        variables.append((tf.Variable(weight), tf.Variable(bias)))
    # Running mean and variance of each batch normalisation.
    running = [
        (tf.Variable(tf.zeros(sizes)), tf.Variable(tf.ones(sizes))) if kind == "batchnorm" else None for kind, *sizes in net.layers
    ]
    trained = [variable for pair in variables if pair for variable in pair]
    data = tf.constant(net.x.transpose(0, 2, 3, 1) if net.x.ndim == 4 else net.x)
    labels = tf.constant(net.labels)

    @tf.function(jit_compile=True)
    def update(x, labels):
        around = []  # of each residual block that is open: its input, and what its main path gave
        with tf.GradientTape() as tape:
            for (kind, *sizes), own, moments in zip(net.layers, variables, running):
                if kind == "residual":
                    around.append([x, None])
                elif kind == "shortcut":
                    around[-1][1] = x
                    x = around[-1][0]
                elif kind == "end":
                    entered, main = around.pop()
                    x = x + (entered if main is None else main)
                elif kind == "conv":
                    _, _, _, pad, stride = (*sizes, 1)[:5]
                    x = tf.nn.conv2d(x, own[0], stride, [[0, 0], [pad] * 2, [pad] * 2, [0, 0]]) + own[1]
                elif kind == "batchnorm":
                    x, *measured = tf.compat.v1.nn.fused_batch_norm(x, *own, epsilon=1e-5)
                    for moment, new in zip(moments, measured):
                        moment.assign(0.9 * moment + 0.1 * new)
                elif kind == "globalavgpool":
                    x = tf.reduce_mean(x, [1, 2], keepdims=True)
                elif kind == "pool":
                    x = tf.nn.max_pool2d(x, sizes[0], sizes[0], "VALID")
                elif kind == "relu":
                    x = tf.nn.relu(x)
                elif kind == "flatten":
                    x = tf.reshape(x, [x.shape[0], -1])
                else:
                    x = x @ own[0] + own[1]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, x))
        for variable, gradient in zip(trained, tape.gradient(loss, trained)):
            variable.assign_sub(net.rate * gradient)
        return loss

    return lambda: update(data, labels).numpy()
