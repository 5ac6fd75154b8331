//: window
struct window {
    int c_in, h_in, w_in, c_out, h_out, w_out, rows, columns, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x, groups;
    /* Rows and columns of the image that a mean counts, and of the padding before it. */
    int h_end, w_end, before;
};

//: convolve window
static void convolve(const struct window *g, const float *x, const float *w, const float *b, float *y)
{
    int c_in = g->c_in / g->groups, c_out = g->c_out / g->groups;
    for (int o = 0; o < g->c_out; o++) {
        const float *plane = x + o / c_out * c_in * g->h_in * g->w_in;
        for (int i = 0; i < g->h_out; i++, y += g->w_out) {
            const float *taps = w + o * c_in * g->rows * g->columns;
            for (int j = 0; j < g->w_out; j++) {
                y[j] = b ? b[o] : 0.0f;
            }
            for (int c = 0; c < c_in; c++) {
                for (int u = 0; u < g->rows; u++, taps += g->columns) {
                    int row = i * g->stride_y + u * g->dilation_y - g->pad_y;
                    if (row < 0 || row >= g->h_in) {
                        continue;
                    }
                    const float *from = plane + (c * g->h_in + row) * g->w_in;
                    for (int v = 0; v < g->columns; v++) {
                        int start = v * g->dilation_x - g->pad_x;
                        int first = start < 0 ? (g->stride_x - 1 - start) / g->stride_x : 0;
                        for (int j = first; j < g->w_out && j * g->stride_x + start < g->w_in; j++) {
                            y[j] = fmaf(taps[v], from[j * g->stride_x + start], y[j]);
                        }
                    }
                }
            }
        }
    }
}

//: convolve_3x3 window
/* Four numbers of a row or column as Winograd's filtering multiplies them, and the two outputs of four products. */
static void transformed(const float *d, int step, float *v, int v_step)
{
    v[0] = d[0] - d[2 * step];
    v[v_step] = d[step] + d[2 * step];
    v[2 * v_step] = d[2 * step] - d[step];
    v[3 * v_step] = d[3 * step] - d[step];
}

static void outputs(const float *m, int step, float *y, int y_step)
{
    y[0] = m[0] + (m[step] + m[2 * step]);
    y[y_step] = (m[step] - m[2 * step]) + m[3 * step];
}

/* 3x3 with many channels, as Winograd's filtering: `u` holds the transformed kernels, [group][16][c_in][c_out], `memory` 16 (c_in + c_out)
 * numbers of a group. With dilation, outputs that lie dilation / stride apart are one image. */
static void convolve_3x3(const struct window *g, const float *x, const float *u, const float *b, float *y, float *memory)
{
    int c_in = g->c_in / g->groups, c_out = g->c_out / g->groups;
    int down = g->dilation_y / g->stride_y, right = g->dilation_x / g->stride_x;
    float *v = memory, *m = memory + 16 * c_in;
    for (int group = 0; group < g->groups; group++) {
        const float *planes = x + group * c_in * g->h_in * g->w_in;
        float *targets = y + group * c_out * g->h_out * g->w_out;
        const float *bias = b ? b + group * c_out : NULL;
        for (int corner = 0; corner < down * right; corner++) {
            for (int i = corner / right; i < g->h_out; i += 2 * down) {
                for (int j = corner % right; j < g->w_out; j += 2 * right) {
                    for (int c = 0; c < c_in; c++) {
                        float pixels[16], half[16];
                        for (int k = 0; k < 16; k++) {
                            int row = i * g->stride_y + k / 4 * g->dilation_y - g->pad_y;
                            int column = j * g->stride_x + k % 4 * g->dilation_x - g->pad_x;
                            int inside = row >= 0 && row < g->h_in && column >= 0 && column < g->w_in;
                            pixels[k] = inside ? planes[(c * g->h_in + row) * g->w_in + column] : 0.0f;
                        }
                        for (int k = 0; k < 4; k++) {
                            transformed(pixels + k, 4, half + k, 4);
                        }
                        for (int k = 0; k < 4; k++) {
                            transformed(half + 4 * k, 1, v + 4 * k * c_in + c, c_in);
                        }
                    }
                    for (int place = 0; place < 16; place++) {
                        float *sums = m + place * c_out;
                        for (int o = 0; o < c_out; o++) {
                            sums[o] = place == 5 && bias ? bias[o] : 0.0f;
                        }
                        for (int c = 0; c < c_in; c++) {
                            const float *kernels = u + ((group * 16 + place) * c_in + c) * c_out;
                            for (int o = 0; o < c_out; o++) {
                                sums[o] = fmaf(v[place * c_in + c], kernels[o], sums[o]);
                            }
                        }
                    }
                    for (int o = 0; o < c_out; o++) {
                        float half[8], four[4];
                        for (int k = 0; k < 4; k++) {
                            outputs(m + k * c_out + o, 4 * c_out, half + k, 4);
                        }
                        outputs(half, 1, four, 1);
                        outputs(half + 4, 1, four + 2, 1);
                        for (int k = 0; k < 4; k++) {
                            int row = i + k / 2 * down, column = j + k % 2 * right;
                            if (row < g->h_out && column < g->w_out) {
                                targets[(o * g->h_out + row) * g->w_out + column] = four[k];
                            }
                        }
                    }
                }
            }
        }
    }
}

//: dense
/* Sixteen partial sums, input i in sum i mod 16, added in a tree. */
static void dense(int inputs, int outputs, const float *x, const float *w, const float *b, float *y)
{
    for (int o = 0; o < outputs; o++, w += inputs) {
        float sums[16] = {0};
        int i = 0;
        for (; i + 16 <= inputs; i += 16) {
            for (int k = 0; k < 16; k++) {
                sums[k] = fmaf(w[i + k], x[i + k], sums[k]);
            }
        }
        for (int k = 0; i + k < inputs; k++) {
            sums[k] = fmaf(w[i + k], x[i + k], sums[k]);
        }
        for (int k = 0; k < 8; k++) {
            sums[k] += sums[k + 8];
        }
        for (int k = 0; k < 4; k++) {
            sums[k] += sums[k + 4];
        }
        float sum = (sums[0] + sums[2]) + (sums[1] + sums[3]);
        y[o] = b ? sum + b[o] : sum;
    }
}

//: max_pool window
static void max_pool(const struct window *g, const float *x, float *y)
{
    for (int c = 0; c < g->c_out; c++, x += g->h_in * g->w_in) {
        for (int i = 0; i < g->h_out; i++) {
            for (int j = 0; j < g->w_out; j++) {
                float best = -INFINITY;
                for (int u = 0; u < g->rows; u++) {
                    for (int v = 0; v < g->columns; v++) {
                        int row = i * g->stride_y + u * g->dilation_y - g->pad_y;
                        int column = j * g->stride_x + v * g->dilation_x - g->pad_x;
                        if (row >= 0 && row < g->h_in && column >= 0 && column < g->w_in) {
                            float candidate = x[row * g->w_in + column];
                            if (candidate > best || candidate != candidate) {
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
static void average_pool(const struct window *g, const float *x, float *y)
{
    for (int c = 0; c < g->c_out; c++, x += g->h_in * g->w_in) {
        for (int i = 0; i < g->h_out; i++) {
            for (int j = 0; j < g->w_out; j++) {
                float sum = 0;
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
                *y++ = sum / (float)count;
            }
        }
    }
}

//: normalise
/* `moments` holds each channel's mean, scale and shift. */
static void normalise(int channels, int pixels, const float (*moments)[3], const float *x, float *y)
{
    for (int c = 0; c < channels; c++) {
        for (int i = 0; i < pixels; i++, x++, y++) {
            *y = (*x - moments[c][0]) * moments[c][1] + moments[c][2];
        }
    }
}

//: exponential
/* 2^n of a whole number n. */
static float power_of_two(float n)
{
    uint32_t bits = (uint32_t)((int32_t)n + 127) << 23;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* e^x by n ln 2 + r and a polynomial of Cephes. */
static float exponential(float x)
{
    static const float p[6] = {1.9875691e-4f, 1.3982e-3f, 8.333452e-3f, 4.1665796e-2f, 1.6666665e-1f, 5.0e-1f};
    const float magic = 12582912.0f;
    if (x != x) {
        return x;
    }
    x = x > 104.0f ? 104.0f : x;
    x = -104.0f > x ? -104.0f : x;
    float n = x * 1.44269504088896340736f + magic - magic;
    float r = x - n * 0.6933594f - n * -2.1219444e-4f;
    float y = p[0];
    for (int i = 1; i < 6; i++) {
        y = y * r + p[i];
    }
    y = y * (r * r) + r + 1.0f;
    float half = n * 0.5f + magic - magic;
    return y * power_of_two(half) * power_of_two(n - half);
}

//: logistic exponential
static float logistic(float x)
{
    return 1.0f / (1.0f + exponential(0.0f - x));
}

//: tangent exponential
static float tangent(float x)
{
    static const float p[5] = {-5.7049887e-3f, 2.063909e-2f, -5.373972e-2f, 1.3331442e-1f, -3.333328e-1f};
    float a = 0.0f > x ? 0.0f - x : x;
    if (a > 0.625f) {
        float far = 1.0f - 2.0f / (exponential(a + a) + 1.0f);
        return 0.0f > x ? 0.0f - far : far;
    }
    float z = x * x, y = p[0];
    for (int i = 1; i < 5; i++) {
        y = y * z + p[i];
    }
    return y * z * x + x;
}

//: normal_cdf exponential
/* How often a normal number is at most x. */
static float normal_cdf(float x)
{
    static const float p[9] = {-2.9159494e-2f, 1.4403889e-1f, -2.5585577e-1f, 1.5933925e-1f, -2.3226121e-2f,
                               1.0555848e-1f, 1.1981973e-1f, 1.3986373e-1f, 1.3962129e-1f};
    float a = 0.0f > x ? 0.0f - x : x, t = 1.0f / (1.0f + 0.35f * a), y = p[0];
    for (int i = 1; i < 9; i++) {
        y = y * t + p[i];
    }
    y = y * t * exponential(-0.5f * (a * a));
    return 0.0f > x ? y : 1.0f - y;
}

//: relu
static void relu(int count, const float *x, float *y)
{
    for (int i = 0; i < count; i++, x++, y++) {
        *y = 0.0f > *x ? 0.0f : *x;
    }
}

//: leaky_relu
static void leaky_relu(int count, float slope, const float *x, float *y)
{
    for (int i = 0; i < count; i++, x++, y++) {
        *y = *x > 0.0f ? *x : slope * *x;
    }
}

//: gelu logistic exponential
/* x/2 (1 + tanh(u)) as x / (1 + e^-2u). */
static void gelu(int count, const float *x, float *y)
{
    for (int i = 0; i < count; i++, x++, y++) {
        *y = *x * logistic(1.5957692f * (*x + 0.044715f * (*x * *x * *x)));
    }
}

//: exact_gelu normal_cdf exponential
static void exact_gelu(int count, const float *x, float *y)
{
    for (int i = 0; i < count; i++, x++, y++) {
        *y = *x * normal_cdf(*x);
    }
}

//: silu logistic exponential
static void silu(int count, const float *x, float *y)
{
    for (int i = 0; i < count; i++, x++, y++) {
        *y = *x * logistic(*x);
    }
}

//: hyperbolic_tangent tangent exponential
static void hyperbolic_tangent(int count, const float *x, float *y)
{
    for (int i = 0; i < count; i++, x++, y++) {
        *y = tangent(*x);
    }
}

//: sigmoid logistic exponential
static void sigmoid(int count, const float *x, float *y)
{
    for (int i = 0; i < count; i++, x++, y++) {
        *y = logistic(*x);
    }
}

//: copy
static void copy(int count, const float *x, float *y)
{
    memcpy(y, x, (size_t)count * sizeof *y);
}

//: add
static void add(int count, const float *x, float *y)
{
    for (int i = 0; i < count; i++) {
        y[i] += x[i];
    }
}

//: logarithm
/* The natural logarithm of a normal number above 0: 2^e m, and a polynomial of Cephes in m - 1. */
static float logarithm(float x)
{
    static const float p[9] = {7.0376836e-2f, -1.151461e-1f, 1.1676999e-1f, -1.2420141e-1f, 1.4249323e-1f,
                               -1.6668057e-1f, 2.0000715e-1f, -2.4999994e-1f, 3.333333e-1f};
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    float e = (float)(int32_t)(bits >> 23) - 126.0f, m;
    bits = (bits & 0x007fffff) | 0x3f000000;
    memcpy(&m, &bits, sizeof m);
    if (m < 0.70710678118654752440f) {
        m += m;
        e -= 1.0f;
    }
    float r = m - 1.0f, z = r * r, y = p[0];
    for (int i = 1; i < 9; i++) {
        y = y * r + p[i];
    }
    y = y * r * z + e * -2.1219444e-4f - 0.5f * z;
    return r + y + e * 0.6933594f;
}

//: log_softmax exponential logarithm
static void log_softmax(int count, const float *x, float *y)
{
    float most = x[0], sum = 0.0f;
    for (int i = 1; i < count; i++) {
        most = x[i] > most ? x[i] : most;
    }
    for (int i = 0; i < count; i++) {
        sum += exponential(x[i] - most);
    }
    float shift = logarithm(exponential(0.0f) / sum);
    for (int i = 0; i < count; i++) {
        y[i] = (x[i] - most) + shift;
    }
}
