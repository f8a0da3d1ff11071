/* TensorFlow Lite Micro behind tool.h. With -DPROBE it looks for the smallest arena that works, and tells it. */
#include <cstdint>
#include <cstring>
#include <new>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tool.h"

extern "C" const uint8_t model[];

alignas(16) static uint8_t arena[ARENA];
static tflite::MicroInterpreter* interpreter;

extern "C" void begin(void) {
  // Not static objects: board.c runs no constructors.
  alignas(tflite::MicroMutableOpResolver<9>) static uint8_t list[sizeof(tflite::MicroMutableOpResolver<9>)];
  tflite::MicroMutableOpResolver<9>& operators = *new (list) tflite::MicroMutableOpResolver<9>();
  OPERATORS
#ifdef PROBE
  size_t bytes;
  {
    tflite::MicroInterpreter whole(tflite::GetModel(model), operators, arena, sizeof arena);
    if (whole.AllocateTensors() != kTfLiteOk) failed("the largest arena is too small");
    bytes = whole.arena_used_bytes() & ~static_cast<size_t>(15);
    told("used", whole.arena_used_bytes());
  }
  for (;; bytes += 16) {
    tflite::MicroInterpreter tight(tflite::GetModel(model), operators, arena, bytes);
    if (tight.AllocateTensors() == kTfLiteOk) break;
  }
  told("arena", bytes);
#endif
  alignas(tflite::MicroInterpreter) static uint8_t place[sizeof(tflite::MicroInterpreter)];
  interpreter = new (place) tflite::MicroInterpreter(tflite::GetModel(model), operators, arena, sizeof arena);
  if (interpreter->AllocateTensors() != kTfLiteOk) failed("AllocateTensors failed");
  if (interpreter->input(0)->bytes != image_bytes) failed("the image has another size than the input");
}

extern "C" void classify(void) {
  std::memcpy(interpreter->input(0)->data.raw, image, image_bytes);
  if (interpreter->Invoke() != kTfLiteOk) failed("Invoke failed");
}

extern "C" void finish(void) {
  const TfLiteTensor* logits = interpreter->output(0);
  for (size_t i = 0; i < logits->bytes; i++) told("logit", logits->data.uint8[i]);
}
