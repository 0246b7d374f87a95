// Asks an x86-64 processor, and the system whether it saves the registers, for what the targets need. For systems that do not
// list features by name. The bits of the result are the order of CPUID_FEATURES in cpu.py.
#include <stdint.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

EXPORT uint32_t llmos_cpuid_features(void) {
  uint32_t found = 0;
#if defined(__x86_64__)
  uint32_t a, b, c, d, a7, b7, c7, d7;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1) || !__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7)) return 0;
  uint32_t saved, high;
  __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  const bool ymm = (saved & 0x06) == 0x06, zmm = ymm && (saved & 0xe0) == 0xe0;
  uint32_t bits[] = {
      ymm && (b7 >> 5 & 1),  ymm && (c >> 12 & 1),  b7 >> 8 & 1,           ymm && (c >> 29 & 1),
      zmm && (b7 >> 16 & 1), zmm && (b7 >> 30 & 1), zmm && (b7 >> 17 & 1), zmm && (b7 >> 31 & 1),
      zmm && (b7 >> 28 & 1), zmm && (c7 >> 11 & 1), 0,
  };
  const uint32_t last_part = a7;
  if (zmm && last_part >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) bits[10] = a >> 5 & 1;
  for (int i = 0; i < 11; ++i) found |= bits[i] << i;
#endif
  return found;
}
