// Counts 0, 1, ..., N - 1, 0, ...: one step in each cycle with `step`.
module sn_count #(
    parameter integer N = 2,
    parameter W = N > 1 ? $clog2(N) : 1
) (
    input wire clk,
    input wire rst,
    input wire step,
    output reg [W-1:0] value,
    output wire last
);
    localparam integer END = N - 1;
    assign last = value == END[W-1:0];
    always @(posedge clk)
        if (rst) value <= 0;
        else if (step) value <= last ? 0 : value + 1;
endmodule
