// Goes through the words of a result, and for each of them once through all entries. It waits before each block until
// the lines have what the block needs. An entry begins in each cycle with `enable && running`.
module sn_walk #(
    parameter READS = 1,  // blocks of the result
    parameter NS = 1,  // words of a block
    parameter RING = 2,  // words in the ring of the lines
    parameter SKIP = 1,  // places from the last word of a block to the first of the next one, modulo RING
    parameter NEXT = 1,  // the same from an image to the next one
    parameter NB = READS > 1 ? $clog2(READS) : 1,
    parameter SB = NS > 1 ? $clog2(NS) : 1,
    parameter RBITS = RING > 1 ? $clog2(RING) : 1
) (
    input wire clk,
    input wire rst,
    input wire enable,
    input wire ready,
    input wire entry_last,
    output reg running,
    output wire [NB-1:0] block,
    output wire [SB-1:0] strip,
    output reg [RBITS-1:0] place,
    output wire taken,  // the last entry of a block begins
    output wire image  // and the block is the last one of an image
);
    localparam [31:0] RING32 = RING, SKIP32 = SKIP, NEXT32 = NEXT;
    localparam [RBITS:0] LENGTH = RING32[RBITS:0];
    wire strip_last, block_last;
    wire pass = enable && running && entry_last;
    assign taken = pass && strip_last;
    assign image = block_last;
    sn_count #(.N(NS)) count_strip (.clk(clk), .rst(rst), .step(pass), .value(strip), .last(strip_last));
    sn_count #(.N(READS)) count_block (.clk(clk), .rst(rst), .step(taken), .value(block), .last(block_last));
    wire [RBITS:0] sum = {1'b0, place} + 
        (!strip_last ? 1 : block_last ? NEXT32[RBITS:0] : SKIP32[RBITS:0]);
    /* verilator lint_off UNUSED */
    wire [RBITS:0] less = sum - LENGTH;
    /* verilator lint_on UNUSED */
    always @(posedge clk)
        if (rst) begin
            running <= 0;
            place <= 0;
        end else begin
            if (taken) running <= 0;
            else if (!running) running <= ready;
            if (pass) place <= sum >= LENGTH ? less[RBITS-1:0] : sum[RBITS-1:0];
        end
endmodule
