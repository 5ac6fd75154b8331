// The step through oneDNN's primitives, called directly. Every primitive chooses the layout that it likes best; where two
// differ a reorder stands between them. A ReLU is fused with the layer before it. Speaks the language of python/worker.py.

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
};

struct Call {
    primitive what;
    Arguments arguments;
};

class Step {
public:
    Step(memory::dim batch, float rate, Dims shape, const std::vector<Layer> &layers, std::ifstream &file);

    // One step; its loss.
    float run() {
        execute(forward_);
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
    };

    engine engine_{engine::kind::cpu, 0};
    stream stream_{engine_};
    float rate_;
    std::vector<int32_t> labels_;
    memory p_, dy_;
    std::vector<Call> forward_, backward_;
    std::vector<std::pair<memory, memory>> updated_;

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

    float loss_and_gradient();
    void backward(std::vector<Trace> &traces);
};

Step::Step(memory::dim batch, float rate, Dims shape, const std::vector<Layer> &layers, std::ifstream &file) : rate_(rate) {
    std::vector<Trace> traces;
    if (layers[0].kind == "dense") shape = {shape[0] * shape[1] * shape[2]};
    shape.insert(shape.begin(), batch);
    memory input(plain(shape), engine_), x = input;
    for (size_t i = 0; i < layers.size(); i++) {
        const auto &[kind, sizes] = layers[i];
        if (kind == "flatten") continue; // a dense layer reads images too
        Trace t;
        t.layer = layers[i];
        t.relu = i + 1 < layers.size() && layers[i + 1].kind == "relu";
        const Dims in = x.get_desc().get_dims();
        if (kind == "pool") {
            const Dims window{sizes[0], sizes[0]}, none{0, 0};
            t.pool = {engine_, prop_kind::forward_training, algorithm::pooling_max, x.get_desc(),
                any({in[0], in[1], in[2] / sizes[0], in[3] / sizes[0]}), window, window, none, none, none};
            t.x = x;
            t.y = memory(t.pool.dst_desc(), engine_);
            t.workspace = memory(t.pool.workspace_desc(), engine_);
            forward_.push_back({pooling_forward(t.pool),
                {{DNNL_ARG_SRC, t.x}, {DNNL_ARG_DST, t.y}, {DNNL_ARG_WORKSPACE, t.workspace}}});
        } else if (kind == "conv" || kind == "dense") {
            primitive_attr fused;
            if (t.relu) {
                post_ops then;
                then.append_eltwise(algorithm::eltwise_relu, 0, 0);
                fused.set_post_ops(then);
                i++;
            }
            const memory::dim out = sizes[1];
            primitive what;
            memory::desc x_desc, w_desc;
            Dims w_dims;
            if (kind == "conv") {
                const memory::dim kernel = sizes[2], pad = sizes[3];
                w_dims = {out, sizes[0], kernel, kernel};
                const Dims one{1, 1}, pads{pad, pad}, y{in[0], out, in[2] + 2 * pad - kernel + 1, in[3] + 2 * pad - kernel + 1};
                t.conv = {engine_, prop_kind::forward_training, algorithm::convolution_auto, any(in), any(w_dims), plain({out}),
                    any(y), one, pads, pads, fused};
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
            throw std::runtime_error("layer " + kind + ": expected conv or dense, each with or without relu behind it, pool, flatten");
        }
        x = t.y;
        traces.push_back(t);
    }
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
    backward(traces);
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

void Step::backward(std::vector<Trace> &traces) {
    memory dy = dy_;
    for (auto t = traces.rbegin(); t != traces.rend(); ++t) {
        const bool first = t + 1 == traces.rend(); // nobody needs its dx
        const auto &[kind, sizes] = t->layer;
        if (t->relu) {
            const auto relu = algorithm::eltwise_relu_use_dst_for_bwd;
            const auto y = t->y.get_desc();
            dy = as(y, dy, backward_);
            eltwise_forward::primitive_desc hint(engine_, prop_kind::forward_training, relu, y, y, 0.0f);
            eltwise_backward::primitive_desc desc(engine_, relu, y, y, y, 0.0f, hint);
            backward_.push_back({eltwise_backward(desc), {{DNNL_ARG_DST, t->y}, {DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_DIFF_SRC, dy}}});
        }
        const Dims x_dims = t->x.get_desc().get_dims(), y_dims = t->y.get_desc().get_dims();
        if (kind == "pool") {
            const Dims window{sizes[0], sizes[0]}, none{0, 0};
            dy = as(t->y.get_desc(), dy, backward_);
            memory dx(t->x.get_desc(), engine_);
            pooling_backward::primitive_desc desc(engine_, algorithm::pooling_max, dx.get_desc(), dy.get_desc(), window, window,
                none, none, none, t->pool);
            backward_.push_back({pooling_backward(desc),
                {{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_WORKSPACE, t->workspace}, {DNNL_ARG_DIFF_SRC, dx}}});
            dy = dx;
            continue;
        }
        const Dims w_dims = t->weights.get_desc().get_dims(), one{1, 1};
        const memory::desc bias = t->bias.get_desc();
        primitive by_weights, by_data;
        memory::desc w_x, w_dw, w_dy, d_dx, d_w, d_dy; // layouts that the two like best
        if (kind == "conv") {
            const Dims pads{sizes[3], sizes[3]};
            convolution_backward_weights::primitive_desc dw(engine_, algorithm::convolution_auto, any(x_dims), any(w_dims), bias,
                any(y_dims), one, pads, pads, t->conv);
            by_weights = convolution_backward_weights(dw);
            w_x = dw.src_desc(), w_dw = dw.diff_weights_desc(), w_dy = dw.diff_dst_desc();
            if (!first) {
                convolution_backward_data::primitive_desc dx(engine_, algorithm::convolution_auto, any(x_dims), any(w_dims),
                    any(y_dims), one, pads, pads, t->conv);
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
}

std::unique_ptr<Step> open(std::istream &words, int &steps) {
    memory::dim batch;
    float rate;
    std::string path, word;
    Dims shape(3);
    words >> batch >> rate >> steps >> path >> shape[0] >> shape[1] >> shape[2];
    std::vector<Layer> layers;
    while (words >> word) {
        if (std::isdigit(word[0])) layers.back().sizes.push_back(std::stol(word));
        else layers.push_back({word, {}});
    }
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
