//: window
struct window {
    int c_in, h_in, w_in, c_out, h_out, w_out, rows, columns, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x, groups;
    /* Rows and columns of the image that a mean counts, and of the padding before it. */
    int h_end, w_end, before;
};

//: saturated
static int8_t saturated(int64_t y)
{
    return (int8_t)(y > 127 ? 127 : y < -127 ? -127 : y);
}

//: channel saturated
/* A sum times factor / 2^shift, rounded to the nearest whole number. */
struct channel {
    int32_t bias, factor, shift;
};

static int8_t scaled(const struct channel *channel, int32_t sum)
{
    int64_t product = (int64_t)(sum + channel->bias) * channel->factor;
    return saturated((product + ((int64_t)1 << (channel->shift - 1))) >> channel->shift);
}

//: pair
/* Two bytes of scales of their own as one of a third: (y own + x other) / 2^shift, rounded to the nearest whole number. */
struct pair {
    int32_t own, other, shift;
};

//: logit
/* A sum as a number. */
struct logit {
    int32_t bias;
    float scale;
};

//: convolution window
static int32_t convolution(const struct window *g, const int8_t *x, const int8_t *w, int o, int i, int j)
{
    int32_t sum = 0;
    int c_in = g->c_in / g->groups, c_out = g->c_out / g->groups;
    x += o / c_out * c_in * g->h_in * g->w_in;
    w += o * c_in * g->rows * g->columns;
    for (int c = 0; c < c_in; c++) {
        for (int u = 0; u < g->rows; u++) {
            for (int v = 0; v < g->columns; v++, w++) {
                int row = i * g->stride_y + u * g->dilation_y - g->pad_y;
                int column = j * g->stride_x + v * g->dilation_x - g->pad_x;
                if (row >= 0 && row < g->h_in && column >= 0 && column < g->w_in) {
                    sum += *w * x[(c * g->h_in + row) * g->w_in + column];
                }
            }
        }
    }
    return sum;
}

//: convolve convolution window channel saturated
static void convolve(const struct window *g, const int8_t *x, const int8_t *w, const struct channel *channels, int8_t *y)
{
    for (int o = 0; o < g->c_out; o++) {
        for (int i = 0; i < g->h_out; i++) {
            for (int j = 0; j < g->w_out; j++) {
                *y++ = scaled(&channels[o], convolution(g, x, w, o, i, j));
            }
        }
    }
}

//: convolve_to_logits convolution window logit
static void convolve_to_logits(const struct window *g, const int8_t *x, const int8_t *w, const struct logit *logits, float *y)
{
    for (int o = 0; o < g->c_out; o++) {
        for (int i = 0; i < g->h_out; i++) {
            for (int j = 0; j < g->w_out; j++) {
                *y++ = (float)(convolution(g, x, w, o, i, j) + logits[o].bias) * logits[o].scale;
            }
        }
    }
}

//: product
static int32_t product(int inputs, const int8_t *x, const int8_t *w)
{
    int32_t sum = 0;
    for (int i = 0; i < inputs; i++) {
        sum += w[i] * x[i];
    }
    return sum;
}

//: dense product channel saturated
static void dense(int inputs, int outputs, const int8_t *x, const int8_t *w, const struct channel *channels, int8_t *y)
{
    for (int o = 0; o < outputs; o++) {
        y[o] = scaled(&channels[o], product(inputs, x, w + o * inputs));
    }
}

//: dense_to_logits product logit
static void dense_to_logits(int inputs, int outputs, const int8_t *x, const int8_t *w, const struct logit *logits, float *y)
{
    for (int o = 0; o < outputs; o++) {
        y[o] = (float)(product(inputs, x, w + o * inputs) + logits[o].bias) * logits[o].scale;
    }
}

//: max_pool window
static void max_pool(const struct window *g, const int8_t *x, int8_t *y)
{
    for (int c = 0; c < g->c_out; c++, x += g->h_in * g->w_in) {
        for (int i = 0; i < g->h_out; i++) {
            for (int j = 0; j < g->w_out; j++) {
                int8_t best = -128;
                for (int u = 0; u < g->rows; u++) {
                    for (int v = 0; v < g->columns; v++) {
                        int row = i * g->stride_y + u * g->dilation_y - g->pad_y;
                        int column = j * g->stride_x + v * g->dilation_x - g->pad_x;
                        if (row >= 0 && row < g->h_in && column >= 0 && column < g->w_in) {
                            int8_t candidate = x[row * g->w_in + column];
                            if (candidate > best) {
                                best = candidate;
                            }
                        }
                    }
                }
                *y++ = best;
            }
        }
    }
}

//: average_pool window
static void average_pool(const struct window *g, const int8_t *x, int8_t *y)
{
    for (int c = 0; c < g->c_out; c++, x += g->h_in * g->w_in) {
        for (int i = 0; i < g->h_out; i++) {
            for (int j = 0; j < g->w_out; j++) {
                int32_t sum = 0;
                int32_t count = 0;
                for (int u = 0; u < g->rows; u++) {
                    for (int v = 0; v < g->columns; v++) {
                        int row = i * g->stride_y + u * g->dilation_y - g->pad_y;
                        int column = j * g->stride_x + v * g->dilation_x - g->pad_x;
                        if (row >= 0 && row < g->h_in && column >= 0 && column < g->w_in) {
                            sum += x[row * g->w_in + column];
                        }
                        count += row >= -g->before && row < g->h_end && column >= -g->before && column < g->w_end;
                    }
                }
                *y++ = (int8_t)((sum + (sum < 0 ? -count : count) / 2) / count);
            }
        }
    }
}

//: rescale channel saturated
static void rescale(int channels, int pixels, const struct channel *of, const int8_t *x, int8_t *y)
{
    for (int c = 0; c < channels; c++) {
        for (int i = 0; i < pixels; i++, x++, y++) {
            *y = scaled(&of[c], *x * 256);
        }
    }
}

//: relu
static void relu(int count, const int8_t *x, int8_t *y)
{
    for (int i = 0; i < count; i++) {
        y[i] = x[i] > 0 ? x[i] : 0;
    }
}

//: look_up
/* A function of a byte, as a table from -128 on. */
static void look_up(int count, const int8_t *table, const int8_t *x, int8_t *y)
{
    for (int i = 0; i < count; i++) {
        y[i] = table[x[i] + 128];
    }
}

//: to_logits
static void to_logits(int count, float scale, const int8_t *x, float *y)
{
    for (int i = 0; i < count; i++) {
        y[i] = (float)x[i] * scale;
    }
}

//: add pair saturated
static void add(int count, const struct pair *of, const int8_t *x, int8_t *y)
{
    for (int i = 0; i < count; i++) {
        int64_t sum = (int64_t)y[i] * of->own + (int64_t)x[i] * of->other;
        y[i] = saturated((sum + ((int64_t)1 << (of->shift - 1))) >> of->shift);
    }
}

//: copy
static void copy(int count, const int8_t *x, int8_t *y)
{
    memcpy(y, x, (size_t)count);
}
