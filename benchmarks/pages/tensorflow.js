/* A network of convolutions in TensorFlow.js, with the kernels that it needs and no others. */
import "@tensorflow/tfjs-backend-wasm/dist/base";
import { concat, fused, maxPool, mean, ready, registerKernel, setBackend, tensor, tidy } from "@tensorflow/tfjs-core";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm/dist/backend_wasm";
import { concatConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Concat";
import { fusedConv2DConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/FusedConv2D";
import { identityConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Identity";
import { maxPoolConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/MaxPool";
import { meanConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Mean";
import { reshapeConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Reshape";
import { transposeConfig } from "@tensorflow/tfjs-backend-wasm/dist/kernels/Transpose";

const kernels = [concatConfig, fusedConv2DConfig, identityConfig, maxPoolConfig, meanConfig, reshapeConfig, transposeConfig];
kernels.forEach(registerKernel);

export async function start(paths) {
  setWasmPaths(paths);
  await setBackend("wasm");
  await ready();
}

/** The weights of `network` (see web_peers.py) from its bytes. */
export function weightsOf(network, buffer) {
  return network.map(({ shape, step, bias, weight, least }) => {
    if (!shape) return undefined;
    const out = shape[3], steps = new Float32Array(buffer, step, out), count = shape.reduce((a, b) => a * b);
    const levels = least === undefined ? new Int8Array(buffer, weight, count) : new Uint8Array(buffer, weight, count);
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++) values[i] = levels[i] * steps[i % out] + (least ?? 0);
    return [tensor(values, shape), tensor(new Float32Array(buffer, bias, out))];
  });
}

/** The logits of a prepared image. */
export function run(network, weights, image, size) {
  return tidy(() => {
    const values = [tensor(image, [1, size, size, 3])];
    network.forEach(({ kind, inputs, pad, stride, kernel, shape }, i) => {
      const [x] = inputs.map((input) => values[input]);
      if (kind === "conv")
        values.push(fused.conv2d({ x, filter: weights[i][0], strides: stride, pad, bias: weights[i][1], activation: "relu" }));
      else if (kind === "pool") values.push(maxPool(x, kernel, stride, pad));
      else if (kind === "concat") values.push(concat(inputs.map((input) => values[input]), 3));
      else values.push(mean(x, [1, 2]));
    });
    return values.at(-1).dataSync();
  });
}
