// Two streams become one with the channels of both: for each word N_A beats of the first, then N_B of the second.
module sn_concat #(
    parameter W = 8,
    parameter N_A = 1,
    parameter N_B = 1
) (
    input wire clk,
    input wire rst,
    input wire a_valid, output wire a_ready, input wire [W-1:0] a_data,
    input wire b_valid, output wire b_ready, input wire [W-1:0] b_data,
    output wire out_valid, input wire out_ready, output wire [W-1:0] out_data
);
    localparam N = N_A + N_B;
    localparam [31:0] FIRST = N_A;
    localparam B = N > 1 ? $clog2(N) : 1;
    wire [B-1:0] at;
    wire second = at >= FIRST[B-1:0];
    /* verilator lint_off UNUSED */
    wire unused_last;
    /* verilator lint_on UNUSED */
    sn_count #(.N(N)) count (
        .clk(clk), .rst(rst), .step(out_valid && out_ready), .value(at), .last(unused_last));
    assign out_valid = second ? b_valid : a_valid;
    assign out_data = second ? b_data : a_data;
    assign a_ready = out_ready && !second;
    assign b_ready = out_ready && second;
endmodule
