/* What stands in for libsgx_dcap_ql: its three functions with their signatures (sgx_dcap_ql_wrapper.h), and one more
   by which a test says what they answer. Checks its buffers as the library's caller must give them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_PARAMETER = 0xe002, INVALID_REPORT = 0xe015, TARGET_INFO = 512, REPORT = 432 };

static uint32_t failure, calls;
static uint8_t info[TARGET_INFO], report[REPORT], quote[16384];
static uint32_t quote_bytes;

void prepare(uint32_t error, const uint8_t *target, const uint8_t *asked, const uint8_t *answer, uint32_t size) {
    failure = error;
    calls = 0;
    memcpy(info, target, TARGET_INFO);
    memcpy(report, asked, REPORT);
    memcpy(quote, answer, size);
    quote_bytes = size;
}

uint32_t called(void) { return calls; }

uint32_t sgx_qe_get_target_info(void *target) {
    if (getenv("SGX_AESM_ADDR")) return INVALID_PARAMETER; /* the real one would ask aesmd */
    if (!failure) memcpy(target, info, TARGET_INFO);
    return failure;
}

uint32_t sgx_qe_get_quote_size(uint32_t *size) {
    *size = quote_bytes;
    return failure;
}

uint32_t sgx_qe_get_quote(const void *asked, uint32_t size, uint8_t *into) {
    calls++;
    if (failure) return failure;
    if (size != quote_bytes) return INVALID_PARAMETER;
    if (memcmp(asked, report, REPORT)) return INVALID_REPORT;
    memcpy(into, quote, size);
    return SUCCESS;
}
