// The step through oneDNN's primitives, called directly. Every primitive chooses the layout that it likes best; where two
// differ a reorder stands between them. A ReLU is fused with the layer before it, or with the sum of a residual block. Speaks the
// language of python/worker.py.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>

using namespace dnnl;
using Arguments = std::unordered_map<int, memory>;
using Dims = memory::dims;
using Format = memory::format_tag;

struct Layer {
    std::string kind;
    std::vector<memory::dim> sizes;
    std::vector<Layer> main, shortcut; // of a residual block; no shortcut is the identity
};

struct Call {
    primitive what;
    Arguments arguments;
};

constexpr float EPS = 1e-5f; // of batch normalisation

normalization_flags norm_flags(bool relu) {
    const auto flags = normalization_flags::use_scale | normalization_flags::use_shift;
    return relu ? flags | normalization_flags::fuse_norm_relu : flags;
}

bool is_pooling(const Layer &layer) { return layer.kind == "pool" || layer.kind == "globalavgpool"; }

// The windows of a pooling of images of these sizes, which are its strides too.
Dims windows(const Layer &pool, const Dims &in) {
    return pool.kind == "pool" ? Dims{pool.sizes[0], pool.sizes[0]} : Dims{in[2], in[3]};
}

algorithm pooling(const Layer &pool) {
    return pool.kind == "pool" ? algorithm::pooling_max : algorithm::pooling_avg_exclude_padding;
}

Dims strides(const Layer &conv) {
    const memory::dim stride = conv.sizes.size() > 4 ? conv.sizes[4] : 1;
    return {stride, stride};
}

class Step {
public:
    Step(memory::dim batch, float rate, Dims shape, const std::vector<Layer> &layers, std::ifstream &file);

    // One step; its loss.
    float run() {
        execute(forward_);
        for (auto &norm : running_) norm.update();
        float loss = loss_and_gradient();
        execute(backward_);
        for (auto &[weights, gradient] : updated_) {
            auto *w = static_cast<float *>(weights.get_data_handle());
            auto *g = static_cast<float *>(gradient.get_data_handle());
            const std::ptrdiff_t length = weights.get_desc().get_size() / sizeof(float);
            const float rate = rate_;
#pragma omp parallel for simd if (length > 65536)
            for (std::ptrdiff_t i = 0; i < length; i++) w[i] -= rate * g[i];
        }
        return loss;
    }

private:
    // What backward needs of a layer's forward.
    struct Trace {
        Layer layer;
        bool relu = false;
        memory x, y, weights, bias, workspace;
        convolution_forward::primitive_desc conv;
        inner_product_forward::primitive_desc dense;
        pooling_forward::primitive_desc pool;
        batch_normalization_forward::primitive_desc norm;
        memory mean, variance;
        std::vector<Trace> main, shortcut;
    };

    // Running mean and variance of a batch normalisation, beside those of a minibatch.
    struct Running {
        memory mean, variance;
        float n; // numbers that each is of
        std::vector<float> means, variances;

        void update() {
            const auto *m = static_cast<float *>(mean.get_data_handle()), *v = static_cast<float *>(variance.get_data_handle());
            for (size_t c = 0; c < means.size(); c++) {
                means[c] = 0.9f * means[c] + 0.1f * m[c];
                variances[c] = 0.9f * variances[c] + 0.1f * v[c] * n / (n - 1);
            }
        }
    };

    engine engine_{engine::kind::cpu, 0};
    stream stream_{engine_};
    float rate_;
    std::vector<int32_t> labels_;
    memory p_, dy_;
    std::vector<Call> forward_, backward_;
    std::vector<std::pair<memory, memory>> updated_;
    std::vector<Running> running_;

    void execute(std::vector<Call> &calls) {
        for (auto &call : calls) call.what.execute(stream_, call.arguments);
        stream_.wait();
    }

    static memory::desc plain(const Dims &dims) {
        const Format format = dims.size() == 4 ? Format::nchw : dims.size() == 2 ? Format::nc : Format::x;
        return {dims, memory::data_type::f32, format};
    }

    static memory::desc any(const Dims &dims) { return {dims, memory::data_type::f32, Format::any}; }

    // The same numbers in the layout `wanted`: `from` itself, or what a reorder among `calls` makes of it.
    memory as(const memory::desc &wanted, memory from, std::vector<Call> &calls) {
        if (from.get_desc() == wanted) return from;
        memory to(wanted, engine_);
        calls.push_back({reorder(from, to), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}});
        return to;
    }

    // Numbers of a file, laid out as `wanted`.
    memory load(std::ifstream &file, const Dims &dims, const memory::desc &wanted) {
        memory from(plain(dims), engine_), to(wanted, engine_);
        file.read(static_cast<char *>(from.get_data_handle()), from.get_desc().get_size());
        if (!file) throw std::runtime_error("the file of numbers is too short");
        reorder(from, to).execute(stream_, from, to);
        stream_.wait();
        return to;
    }

    // The sum of two, in the layout of `to`.
    void add(memory a, memory b, memory to, const primitive_attr &then, std::vector<Call> &calls) {
        const auto desc = to.get_desc();
        a = as(desc, a, calls), b = as(desc, b, calls);
        binary::primitive_desc sum(engine_, algorithm::binary_add, desc, desc, desc, then);
        calls.push_back({binary(sum), {{DNNL_ARG_SRC_0, a}, {DNNL_ARG_SRC_1, b}, {DNNL_ARG_DST, to}}});
    }

    float loss_and_gradient();
    memory forward(const std::vector<Layer> &layers, memory x, std::vector<Trace> &traces, std::ifstream &file);
    memory backward(std::vector<Trace> &traces, memory dy, bool wants_dx);
};

Step::Step(memory::dim batch, float rate, Dims shape, const std::vector<Layer> &layers, std::ifstream &file) : rate_(rate) {
    std::vector<Trace> traces;
    if (layers[0].kind == "dense") shape = {shape[0] * shape[1] * shape[2]};
    shape.insert(shape.begin(), batch);
    memory input(plain(shape), engine_), x = forward(layers, input, traces, file);
    x = as(plain(x.get_desc().get_dims()), x, forward_);
    p_ = memory(x.get_desc(), engine_);
    dy_ = memory(x.get_desc(), engine_);
    softmax_forward::primitive_desc softmax(engine_, prop_kind::forward_inference, algorithm::softmax_accurate, x.get_desc(),
        p_.get_desc(), 1);
    forward_.push_back({softmax_forward(softmax), {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, p_}}});
    file.read(static_cast<char *>(input.get_data_handle()), input.get_desc().get_size());
    labels_.resize(batch);
    file.read(reinterpret_cast<char *>(labels_.data()), batch * sizeof(int32_t));
    if (!file) throw std::runtime_error("the file of numbers is too short");
    backward(traces, dy_, false);
}

// The calls of a chain of layers, and what they leave for backward; its output.
memory Step::forward(const std::vector<Layer> &layers, memory x, std::vector<Trace> &traces, std::ifstream &file) {
    for (size_t i = 0; i < layers.size(); i++) {
        const auto &kind = layers[i].kind;
        const auto &sizes = layers[i].sizes;
        if (kind == "flatten") continue; // a dense layer reads images too
        Trace t;
        t.layer = layers[i];
        t.relu = i + 1 < layers.size() && layers[i + 1].kind == "relu" && !is_pooling(t.layer);
        const Dims in = x.get_desc().get_dims();
        primitive_attr fused;
        if (t.relu) {
            post_ops then;
            then.append_eltwise(algorithm::eltwise_relu, 0, 0);
            fused.set_post_ops(then);
        }
        if (kind == "residual") {
            t.x = x;
            memory main = forward(layers[i].main, x, t.main, file), shortcut = forward(layers[i].shortcut, x, t.shortcut, file);
            for (auto *branch : {&t.main, &t.shortcut})
                if (!branch->empty() && branch->back().relu) throw std::runtime_error("residual: expected no relu at the end of a branch");
            t.y = memory(main.get_desc(), engine_);
            add(main, shortcut, t.y, fused, forward_);
        } else if (kind == "batchnorm") {
            t.norm = {engine_, prop_kind::forward_training, x.get_desc(), x.get_desc(), EPS, norm_flags(t.relu)};
            const auto channels = plain({in[1]});
            t.x = x;
            t.y = memory(t.norm.dst_desc(), engine_);
            t.weights = load(file, {in[1]}, channels), t.bias = load(file, {in[1]}, channels);
            t.mean = memory(channels, engine_), t.variance = memory(channels, engine_);
            t.workspace = memory(t.norm.workspace_desc(), engine_);
            forward_.push_back({batch_normalization_forward(t.norm),
                {{DNNL_ARG_SRC, t.x}, {DNNL_ARG_DST, t.y}, {DNNL_ARG_SCALE, t.weights}, {DNNL_ARG_SHIFT, t.bias},
                    {DNNL_ARG_MEAN, t.mean}, {DNNL_ARG_VARIANCE, t.variance}, {DNNL_ARG_WORKSPACE, t.workspace}}});
            const std::vector<float> zeros(in[1], 0.0f), ones(in[1], 1.0f);
            running_.push_back({t.mean, t.variance, float(in[0] * in[2] * in[3]), zeros, ones});
        } else if (is_pooling(t.layer)) {
            const Dims window = windows(t.layer, in), none{0, 0};
            t.pool = {engine_, prop_kind::forward_training, pooling(t.layer), x.get_desc(),
                any({in[0], in[1], in[2] / window[0], in[3] / window[1]}), window, window, none, none, none};
            t.x = x;
            t.y = memory(t.pool.dst_desc(), engine_);
            t.workspace = memory(t.pool.workspace_desc(), engine_);
            forward_.push_back({pooling_forward(t.pool),
                {{DNNL_ARG_SRC, t.x}, {DNNL_ARG_DST, t.y}, {DNNL_ARG_WORKSPACE, t.workspace}}});
        } else if (kind == "conv" || kind == "dense") {
            const memory::dim out = sizes[1];
            primitive what;
            memory::desc x_desc, w_desc;
            Dims w_dims;
            if (kind == "conv") {
                const memory::dim kernel = sizes[2], pad = sizes[3];
                w_dims = {out, sizes[0], kernel, kernel};
                const Dims step = strides(t.layer), pads{pad, pad};
                const Dims y{in[0], out, (in[2] + 2 * pad - kernel) / step[0] + 1, (in[3] + 2 * pad - kernel) / step[1] + 1};
                t.conv = {engine_, prop_kind::forward_training, algorithm::convolution_auto, any(in), any(w_dims), plain({out}),
                    any(y), step, pads, pads, fused};
                what = convolution_forward(t.conv);
                x_desc = t.conv.src_desc(), w_desc = t.conv.weights_desc(), t.y = memory(t.conv.dst_desc(), engine_);
            } else {
                w_dims = in;
                w_dims[0] = out;
                t.dense = {engine_, prop_kind::forward_training, any(in), any(w_dims), plain({out}), any({in[0], out}), fused};
                what = inner_product_forward(t.dense);
                x_desc = t.dense.src_desc(), w_desc = t.dense.weights_desc(), t.y = memory(t.dense.dst_desc(), engine_);
            }
            t.weights = load(file, w_dims, w_desc);
            t.bias = load(file, {out}, plain({out}));
            t.x = as(x_desc, x, forward_);
            forward_.push_back({what,
                {{DNNL_ARG_SRC, t.x}, {DNNL_ARG_WEIGHTS, t.weights}, {DNNL_ARG_BIAS, t.bias}, {DNNL_ARG_DST, t.y}}});
        } else {
            throw std::runtime_error("layer " + kind + ": not known, or a relu behind a pool");
        }
        if (t.relu) i++;
        x = t.y;
        traces.push_back(t);
    }
    return x;
}

// The mean cross-entropy, and in dy_ its gradient by the logits: (p - [class is the label]) / batch.
float Step::loss_and_gradient() {
    const auto *p = static_cast<float *>(p_.get_data_handle());
    auto *dy = static_cast<float *>(dy_.get_data_handle());
    const size_t batch = labels_.size(), classes = p_.get_desc().get_dims()[1];
    const float share = 1.0f / batch;
    double loss = 0;
    for (size_t i = 0; i < batch; i++) {
        for (size_t c = 0; c < classes; c++) dy[i * classes + c] = p[i * classes + c] * share;
        dy[i * classes + labels_[i]] -= share;
        loss -= std::log(p[i * classes + labels_[i]]);
    }
    return loss / batch;
}

// The calls of the backward pass of a chain whose output has the gradient `dy`; that of its input, if it is wanted.
memory Step::backward(std::vector<Trace> &traces, memory dy, bool wants_dx) {
    for (auto t = traces.rbegin(); t != traces.rend(); ++t) {
        const bool first = t + 1 == traces.rend() && !wants_dx; // nobody needs its dx
        const auto &kind = t->layer.kind;
        const auto &sizes = t->layer.sizes;
        if (t->relu && kind != "batchnorm") {
            const auto relu = algorithm::eltwise_relu_use_dst_for_bwd;
            const auto y = t->y.get_desc();
            dy = as(y, dy, backward_);
            eltwise_forward::primitive_desc hint(engine_, prop_kind::forward_training, relu, y, y, 0.0f);
            eltwise_backward::primitive_desc desc(engine_, relu, y, y, y, 0.0f, hint);
            backward_.push_back({eltwise_backward(desc), {{DNNL_ARG_DST, t->y}, {DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_DIFF_SRC, dy}}});
        }
        const Dims x_dims = t->x.get_desc().get_dims(), y_dims = t->y.get_desc().get_dims();
        if (kind == "residual") {
            memory dx(t->x.get_desc(), engine_), main = backward(t->main, dy, true);
            add(main, backward(t->shortcut, dy, true), dx, {}, backward_);
            dy = dx;
            continue;
        }
        if (kind == "batchnorm") {
            const auto y = t->y.get_desc(), channels = t->weights.get_desc();
            dy = as(y, dy, backward_);
            memory dx(y, engine_), dscale(channels, engine_), dshift(channels, engine_);
            batch_normalization_backward::primitive_desc desc(engine_, prop_kind::backward, y, y, y, EPS, norm_flags(t->relu), t->norm);
            backward_.push_back({batch_normalization_backward(desc),
                {{DNNL_ARG_SRC, t->x}, {DNNL_ARG_MEAN, t->mean}, {DNNL_ARG_VARIANCE, t->variance}, {DNNL_ARG_DIFF_DST, dy},
                    {DNNL_ARG_SCALE, t->weights}, {DNNL_ARG_WORKSPACE, t->workspace}, {DNNL_ARG_DIFF_SRC, dx},
                    {DNNL_ARG_DIFF_SCALE, dscale}, {DNNL_ARG_DIFF_SHIFT, dshift}}});
            updated_.push_back({t->weights, dscale});
            updated_.push_back({t->bias, dshift});
            dy = dx;
            continue;
        }
        if (is_pooling(t->layer)) {
            const Dims window = windows(t->layer, x_dims), none{0, 0};
            dy = as(t->y.get_desc(), dy, backward_);
            memory dx(t->x.get_desc(), engine_);
            pooling_backward::primitive_desc desc(engine_, pooling(t->layer), dx.get_desc(), dy.get_desc(), window, window,
                none, none, none, t->pool);
            backward_.push_back({pooling_backward(desc),
                {{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_WORKSPACE, t->workspace}, {DNNL_ARG_DIFF_SRC, dx}}});
            dy = dx;
            continue;
        }
        const Dims w_dims = t->weights.get_desc().get_dims();
        const memory::desc bias = t->bias.get_desc();
        primitive by_weights, by_data;
        memory::desc w_x, w_dw, w_dy, d_dx, d_w, d_dy; // layouts that the two like best
        if (kind == "conv") {
            const Dims step = strides(t->layer), pads{sizes[3], sizes[3]};
            convolution_backward_weights::primitive_desc dw(engine_, algorithm::convolution_auto, any(x_dims), any(w_dims), bias,
                any(y_dims), step, pads, pads, t->conv);
            by_weights = convolution_backward_weights(dw);
            w_x = dw.src_desc(), w_dw = dw.diff_weights_desc(), w_dy = dw.diff_dst_desc();
            if (!first) {
                convolution_backward_data::primitive_desc dx(engine_, algorithm::convolution_auto, any(x_dims), any(w_dims),
                    any(y_dims), step, pads, pads, t->conv);
                by_data = convolution_backward_data(dx);
                d_dx = dx.diff_src_desc(), d_w = dx.weights_desc(), d_dy = dx.diff_dst_desc();
            }
        } else {
            inner_product_backward_weights::primitive_desc dw(engine_, any(x_dims), any(w_dims), bias, any(y_dims), t->dense);
            by_weights = inner_product_backward_weights(dw);
            w_x = dw.src_desc(), w_dw = dw.diff_weights_desc(), w_dy = dw.diff_dst_desc();
            if (!first) {
                inner_product_backward_data::primitive_desc dx(engine_, any(x_dims), any(w_dims), any(y_dims), t->dense);
                by_data = inner_product_backward_data(dx);
                d_dx = dx.diff_src_desc(), d_w = dx.weights_desc(), d_dy = dx.diff_dst_desc();
            }
        }
        memory dw(w_dw, engine_), db(bias, engine_);
        backward_.push_back({by_weights,
            {{DNNL_ARG_SRC, as(w_x, t->x, backward_)}, {DNNL_ARG_DIFF_DST, as(w_dy, dy, backward_)}, {DNNL_ARG_DIFF_WEIGHTS, dw},
                {DNNL_ARG_DIFF_BIAS, db}}});
        updated_.push_back({t->weights, as(t->weights.get_desc(), dw, backward_)});
        updated_.push_back({t->bias, db});
        if (!first) {
            memory dx(d_dx, engine_);
            backward_.push_back({by_data,
                {{DNNL_ARG_DIFF_DST, as(d_dy, dy, backward_)}, {DNNL_ARG_WEIGHTS, as(d_w, t->weights, backward_)},
                    {DNNL_ARG_DIFF_SRC, dx}}});
            dy = dx;
        }
    }
    return dy;
}

// The layers that words name, up to the end or to a word that closes a branch, which is `stop` then.
std::vector<Layer> read_layers(std::istream &words, std::string &stop) {
    std::vector<Layer> layers;
    while (words >> stop && stop != "shortcut" && stop != "end") {
        if (std::isdigit(stop[0])) {
            layers.back().sizes.push_back(std::stol(stop));
            continue;
        }
        Layer layer{stop, {}, {}, {}};
        if (stop == "residual") {
            layer.main = read_layers(words, stop);
            if (stop == "shortcut") layer.shortcut = read_layers(words, stop);
        }
        layers.push_back(layer);
    }
    return layers;
}

std::unique_ptr<Step> open(std::istream &words, int &steps) {
    memory::dim batch;
    float rate;
    std::string path, word;
    Dims shape(3);
    words >> batch >> rate >> steps >> path >> shape[0] >> shape[1] >> shape[2];
    const std::vector<Layer> layers = read_layers(words, word);
    std::ifstream file(path, std::ios::binary);
    return std::make_unique<Step>(batch, rate, shape, layers, file);
}

// Takes steps for so long; at least three, unless they take too long.
void time(Step &step, double seconds) {
    using Clock = std::chrono::steady_clock;
    auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
    std::vector<double> times;
    const auto began = Clock::now();
    for (double lasted = 0; lasted < seconds || (times.size() < 3 && lasted < 5 * seconds); lasted = since(began)) {
        const auto start = Clock::now();
        step.run();
        times.push_back(since(start));
    }
    std::sort(times.begin(), times.end());
    std::printf("{\"median_us\": %.3f, \"min_us\": %.3f, \"steps\": %zu}\n", times[times.size() / 2] * 1e6, times[0] * 1e6, times.size());
}

int main() try {
    const auto *version = dnnl_version();
    std::printf("{\"version\": \"oneDNN %d.%d.%d\"}\n", version->major, version->minor, version->patch);
    std::fflush(stdout);
    std::unique_ptr<Step> step;
    for (std::string line, request; std::getline(std::cin, line);) {
        std::istringstream words(line);
        words >> request;
        if (request == "open") {
            int steps;
            step.reset(); // frees the network before
            step = open(words, steps);
            std::printf("{\"losses\": [");
            for (int i = 0; i < steps; i++) std::printf("%s%.9g", i ? ", " : "", step->run());
            std::printf("]}\n");
        } else {
            double seconds;
            words >> seconds;
            time(*step, seconds);
        }
        std::fflush(stdout);
    }
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
