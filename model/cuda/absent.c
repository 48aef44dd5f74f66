// Operations that are not written yet.
#include "model/cuda/stream.h"

__attribute__((weak)) void cuda_linear_forward(Stream *stream, const LinearLayer *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "linear_forward");
}
__attribute__((weak)) void cuda_linear_grad(Stream *stream, const LinearLayer *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "linear_grad");
}
__attribute__((weak)) void cuda_activation_forward(Stream *stream, const Elementwise *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "activation_forward");
}
__attribute__((weak)) void cuda_multiply(Stream *stream, const Elementwise *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "multiply");
}
__attribute__((weak)) void cuda_halve(Stream *stream, const Elementwise *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "halve");
}
__attribute__((weak)) void cuda_residual_norm_forward(Stream *stream, const ResidualNorm *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "residual_norm_forward");
}
__attribute__((weak)) void cuda_residual_norm_grad(Stream *stream, const ResidualNorm *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "residual_norm_grad");
}
__attribute__((weak)) void cuda_attention_forward(Stream *stream, const Attention *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "attention_forward");
}
__attribute__((weak)) void cuda_attention_grad(Stream *stream, const Attention *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "attention_grad");
}
__attribute__((weak)) void cuda_embed_forward(Stream *stream, const Embed *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "embed_forward");
}
__attribute__((weak)) void cuda_embed_grad(Stream *stream, const Embed *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "embed_grad");
}
__attribute__((weak)) void cuda_fourier_forward(Stream *stream, const Fourier *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "fourier_forward");
}
__attribute__((weak)) void cuda_fourier_grad(Stream *stream, const Fourier *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "fourier_grad");
}
__attribute__((weak)) void cuda_patch_forward(Stream *stream, const Patches *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "patch_forward");
}
__attribute__((weak)) void cuda_patch_back(Stream *stream, const Patches *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "patch_back");
}
__attribute__((weak)) void cuda_quantise(Stream *stream, const Quantise *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "quantise");
}
__attribute__((weak)) void cuda_code_values(Stream *stream, const CodeValues *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "code_values");
}
__attribute__((weak)) void cuda_dropout(Stream *stream, const Dropout *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "dropout");
}
__attribute__((weak)) void cuda_rescale(Stream *stream, const Rescale *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "rescale");
}
__attribute__((weak)) void cuda_logit(Stream *stream, const Elementwise *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "logit");
}
__attribute__((weak)) void cuda_gaussian_corrupt(Stream *stream, const Gaussian *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "gaussian_corrupt");
}
__attribute__((weak)) void cuda_gaussian_loss(Stream *stream, const Gaussian *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "gaussian_loss");
}
__attribute__((weak)) void cuda_gaussian_hat(Stream *stream, const Gaussian *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "gaussian_hat");
}
__attribute__((weak)) void cuda_gaussian_huber(Stream *stream, const Gaussian *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "gaussian_huber");
}
__attribute__((weak)) void cuda_gaussian_terms(Stream *stream, const Gaussian *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "gaussian_terms");
}
__attribute__((weak)) void cuda_schedule_grad(Stream *stream, const ScheduleGrad *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "schedule_grad");
}
__attribute__((weak)) void cuda_gaussian_advance(Stream *stream, const GaussianAdvance *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "gaussian_advance");
}
__attribute__((weak)) void cuda_gaussian_prior(Stream *stream, const Gaussian *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "gaussian_prior");
}
__attribute__((weak)) void cuda_categorical_corrupt(Stream *stream, const Categorical *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "categorical_corrupt");
}
__attribute__((weak)) void cuda_categorical_loss(Stream *stream, const Categorical *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "categorical_loss");
}
__attribute__((weak)) void cuda_categorical_advance(Stream *stream, const Categorical *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "categorical_advance");
}
__attribute__((weak)) void cuda_categorical_prior(Stream *stream, const Categorical *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "categorical_prior");
}
__attribute__((weak)) void cuda_categorical_refresh(Stream *stream, const Categorical *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "categorical_refresh");
}
__attribute__((weak)) void cuda_categorical_reveal(Stream *stream, const Categorical *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "categorical_reveal");
}
__attribute__((weak)) void cuda_class_loss(Stream *stream, const ClassLoss *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "class_loss");
}
__attribute__((weak)) void cuda_sum_squares(Stream *stream, const SumSquares *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "sum_squares");
}
__attribute__((weak)) void cuda_fingerprint(Stream *stream, const Fingerprint *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "fingerprint");
}
__attribute__((weak)) void cuda_adamw_ema(Stream *stream, const AdamwEma *args) {
    (void)args;
    cuda_note(stream, cudaErrorNotSupported, "adamw_ema");
}
