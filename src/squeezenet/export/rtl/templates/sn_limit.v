// ReLU of a value that no convolution makes: limits of each element.
module sn_limit #(
    parameter S = 1,
    parameter X = 8,
    parameter SIGNED = 0,
    parameter OUT_X = 8,
    parameter signed [31:0] LOW = 0,
    parameter signed [31:0] HIGH = 255
) (
    input wire in_valid, output wire in_ready, input wire [S*X-1:0] in_data,
    output wire out_valid, input wire out_ready, output wire [S*OUT_X-1:0] out_data
);
    assign out_valid = in_valid;
    assign in_ready = out_ready;
    genvar i;
    generate
        for (i = 0; i < S; i = i + 1) begin : element
            wire [X-1:0] x = in_data[i*X +: X];
            wire signed [31:0] value = {{(32-X){SIGNED != 0 && x[X-1]}}, x};
            /* verilator lint_off UNUSED */
            wire signed [31:0] limited = value < LOW ? LOW : value > HIGH ? HIGH : value;
            /* verilator lint_on UNUSED */
            assign out_data[i*OUT_X +: OUT_X] = limited[OUT_X-1:0];
        end
    endgenerate
endmodule
